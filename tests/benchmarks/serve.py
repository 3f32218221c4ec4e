"""A served decomposer under load: python -m tests.benchmarks.serve [--slots 1] [--output FILE]

Eight clients put 25 questions each, every one in an order of its own, to a `divconq serve` process on loopback. A reply
must be, to the last bit, one that its question gets when nobody else asks. Exits with 1 otherwise, and where most
questions share a reply with another, so that a mistaken one would not show. Each is asked alone three times, since
under an adapter near ties fall by how much of the prompt was in the cache: nothing, all, or something in between.

One subquestion to a plan keeps it short (a few minutes): which reply goes to whom does not depend on their length.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_divconq import Decomposer, Decomposition, Question, __version__
from langchain_divconq.llamacpp.weights import default_adapter
from langchain_divconq.prompts import PromptStyle
from tests.benchmarks.questions import questions
from tests.repository import ROOT

CLIENTS, QUESTIONS, SEED = 8, 25, 31
KEY = "loopback-only"
COMMAND = [sys.executable, "-m", "langchain_divconq.cli", "serve", "--port", "0"]

Outcome = dict[str, Any]
"""What a decomposition says; not what it took, which depends on what the server had cached."""


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Yield all that `divconq serve` prints, its URL in the first line, while it serves."""
    environment = {**os.environ, "DIVCONQ_API_KEY": KEY}
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert process.stdout is not None
        printed = ""
        while "decomposer = " not in printed:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"divconq serve ended with {process.wait()}; it says why above.")
            printed += line
        yield printed
    finally:
        process.terminate()
        process.communicate(timeout=60)


def connect(printed: str, **fields: Any) -> Decomposer:
    """Return a client of a server, which has connections of its own."""
    model = ChatOpenAI(base_url=printed.split()[0], api_key=SecretStr(KEY), max_retries=0)
    style: PromptStyle = "one_shot" if default_adapter() is None else "student"
    return Decomposer(model=model, llama_server=True, prompt_style=style, **fields)


def outcome(decomposition: Decomposition) -> Outcome:
    """Return what is to be the same whoever asks, and whenever."""
    said = {"question", "subquestions", "text", "no_decomposition_probability", "confidence"}
    return decomposition.model_dump(mode="json", include=said)


def load(clients: Sequence[Runnable[Any, Decomposition]], asked: Sequence[Question]) -> dict[str, Any]:
    """Let all clients put all the questions at once, and compare with what each question gets alone."""
    alone: list[list[Outcome]] = [[] for _ in asked]
    for place in [*(place for place in range(len(asked)) for _ in range(2)), *reversed(range(len(asked)))]:
        if (reply := outcome(clients[0].invoke(asked[place]))) not in alone[place]:
            alone[place].append(reply)
    shown = [{json.dumps({**reply, "question": None}, sort_keys=True) for reply in replies} for replies in alone]
    distinct = [one for one in shown if all(one.isdisjoint(other) for other in shown if other is not one)]

    def work(number: int) -> list[tuple[int, float, Outcome | Exception]]:
        order = random.Random(number).sample(range(len(asked)), len(asked))
        return [(place, *_timed(clients[number], asked[place])) for place in order]

    start = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        results = [result for client in pool.map(work, range(len(clients))) for result in client]
    seconds = time.perf_counter() - start
    failed = [repr(reply) for _, _, reply in results if isinstance(reply, Exception)]
    wrong = [place for place, _, reply in results if not isinstance(reply, Exception) and reply not in alone[place]]
    taken = sorted(seconds for _, seconds, _ in results)
    return {
        "clients": len(clients),
        "requests": len(results),
        "questions": len(asked),
        "distinct_replies": len(distinct),  # few would make a wrong pairing hard to see
        "near_ties": sum(len(replies) > 1 for replies in alone),
        "failures": failed,
        "wrong_replies": wrong,
        "requests_per_second": round(len(results) / seconds, 3),
        "seconds_p50": round(median(taken), 3),
        "seconds_p95": round(quantiles(taken, n=20)[-1], 3),
    }


def _timed(client: Runnable[Any, Decomposition], question: Question) -> tuple[float, Outcome | Exception]:
    start = time.perf_counter()
    reply: Outcome | Exception
    try:
        reply = outcome(client.invoke(question))
    except Exception as error:  # counted, whatever it is
        reply = error
    return time.perf_counter() - start, reply


def main() -> int:
    """Run the load, print and save what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with serving("--slots", str(arguments.slots)) as printed:
        clients = [connect(printed, max_subquestions=1, gate="always") for _ in range(CLIENTS)]
        result = load(clients, questions(QUESTIONS, SEED))
    adapter = (default_adapter() or Path("none")).name
    text = json.dumps({"version": __version__, "adapter": adapter, "slots": arguments.slots, **result}, indent=2) + "\n"
    print(text, end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text, encoding="utf-8")
    telling = result["distinct_replies"] > QUESTIONS / 2
    return 1 if result["failures"] or result["wrong_replies"] or not telling else 0


if __name__ == "__main__":
    sys.exit(main())
