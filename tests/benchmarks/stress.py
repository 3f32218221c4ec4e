"""Decompose many questions at a temperature where the model alone writes nonsense, and check every plan.

python -m tests.benchmarks.stress [--questions 2000] [--temperature 1.5] [--output FILE]

Half of the questions go to each engine, both at once where there are two cores. The grammar is what holds: every reply
must parse, keep to the cap and refer backwards only. Exits with 1 otherwise.
"""

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from langchain_divconq import ChatGGUF, Decomposer, DivConqError, __version__
from langchain_divconq.llamacpp.engines import physical_cores
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.weights import default_adapter
from langchain_divconq.plans import parse_plan
from langchain_divconq.types import Question, references
from tests.benchmarks.questions import questions

SEED = 20


def main() -> int:
    """Run the check, print and save its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    engines: tuple[EngineName, ...] = get_args(EngineName)
    asked = questions(arguments.questions, SEED)
    halves = {engine: list(enumerate(asked))[place :: len(engines)] for place, engine in enumerate(engines)}
    # Processes, not threads: an engine's log-probabilities and sampling hold Python's lock.
    with ProcessPoolExecutor(min(len(engines), physical_cores()), mp_context=get_context("spawn")) as pool:
        running = {
            engine: pool.submit(decompose_all, half, engine, arguments.temperature) for engine, half in halves.items()
        }
        by_engine = {engine: future.result() for engine, future in running.items()}
    summary: dict[str, Any] = {
        "version": __version__,
        "adapter": (default_adapter() or Path("none")).name,
        "temperature": arguments.temperature,
        "seed": SEED,
        "questions": arguments.questions,
        "failures": sum(len(result["failed"]) for result in by_engine.values()),
        "engines": by_engine,
    }
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if summary["failures"] else 0


def decompose_all(asked: list[tuple[int, Question]], engine: EngineName, temperature: float) -> dict[str, Any]:
    """Decompose the numbered questions, each with its number as seed, and return what came of it."""
    model = ChatGGUF(adapter_path=default_adapter(), temperature=temperature, engine=engine)
    failed: list[str] = []
    lengths: Counter[int] = Counter()
    plans: set[str] = set()
    referring = tokens = 0
    start = time.perf_counter()
    for done, (number, question) in enumerate(asked, start=1):
        decomposer = Decomposer(model=model.bind(seed=number))
        try:
            decomposition = decomposer.invoke(question)
            plan = parse_plan(decomposition.text)
        except DivConqError as error:
            failed.append(f"{number}: {error}")
            continue
        forward = [p for p, text in enumerate(plan, start=1) if any(not 1 <= n < p for n in references(text))]
        if len(plan) > decomposer.max_subquestions or forward:
            failed.append(f"{number}: {decomposition.text!r}")
        lengths[len(plan)] += 1
        referring += any(references(text) for text in plan)
        plans.add(decomposition.text)
        tokens += decomposition.usage.output_tokens
        if done % 100 == 0:
            print(f"{engine}: {done} decomposed, {len(failed)} failed", file=sys.stderr, flush=True)
    return {
        "questions": len(asked),
        "failed": failed,
        "distinct_plans": len(plans),
        "plans_by_number_of_subquestions": {str(length): lengths[length] for length in sorted(lengths)},
        "plans_with_references": referring,
        "tokens": tokens,
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
