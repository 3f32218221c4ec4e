"""64 threads at the default Decomposer that all share, plain calls, streams and cancelled tasks mixed.

`--count` calls in all, in a child process for each engine. Most are of what is left whole without asking the model, as
in a chat; one in twenty decodes, with replies cut short, since a fake engine would show nothing. Each reply must be the
one its question gets when nobody else asks; each call ends, and none raises.
"""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import cast

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.weights import default_adapter
from tests.campaigns.children import each_in_child
from tests.campaigns.report import Report, engines

_THREADS = 64
_DECODES = 0.05  # of the calls
_CHAT = ("thanks, that helped!", "yes, do it", "hi", "Wie hoch ist der Turm?", "Write a poem about the sea.")
_QUESTIONS = ("Who is older, Ada or Alan?", "How far is Rome from Oslo?", "What is 3 times 4, plus 2?")


def run(count: int, seed: int) -> Report:
    report = Report(settings={"engines": list(engines()), "threads": _THREADS})
    cases = [(name, count, seed) for name in engines()]
    for (name, _, _), outcome in each_in_child(work, cases, seconds=24 * 3600, batch=1):
        kinds = Counter(dict(part.rsplit("=", 1) for part in outcome.split("; ") if "=" in part))
        for kind, number in kinds.items():
            if kind.startswith("fine"):
                report.outcomes[kind] += int(number)
            else:
                report.failed(0, name, kind, outcome=kind)
        if not kinds:
            report.failed(0, name, outcome)
    return report


def work(case: tuple[EngineName, int, int]) -> str:
    name, count, seed = case
    model = ChatGGUF(adapter_path=default_adapter(), engine=name, max_tokens=8)
    decomposer = Decomposer(model=model, max_subquestions=1)
    alone = {question: str(model.invoke(question).text) for question in _QUESTIONS}
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def call(number: int) -> None:
        try:
            said = _call(random.Random(f"{seed} {number}"), decomposer, model, alone)
        except Exception as error:  # every one is a failure of this call
            said = f"raised {type(error).__name__}: {error}"[:150].replace(";", ",").replace("=", ":")
        with lock:
            outcomes[said] += 1

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(call, range(count)))
    return "; ".join(f"{kind}={number}" for kind, number in outcomes.items())


def _call(chance: random.Random, decomposer: Decomposer, model: ChatGGUF, alone: dict[str, str]) -> str:
    if chance.random() >= _DECODES:
        plan = decomposer.invoke(chance.choice(_CHAT)).subquestions
        return "a plan for chat" if plan else "fine: left whole"
    question = chance.choice(_QUESTIONS)
    kind = chance.choice(("plan", "reply", "stream", "closed stream", "cancelled task"))
    if kind == "plan":
        decomposer.invoke(question)
    elif kind == "reply" and model.invoke(question).text != alone[question]:
        return "another reply than alone"
    elif kind == "stream":
        list(model.stream(question))
    elif kind == "closed stream":
        with closing(cast("Generator[object, None, None]", model.stream(question))) as stream:
            next(stream)
    elif kind == "cancelled task":
        asyncio.run(_cancelled(model, question, chance.random() * 0.05))
    return f"fine: {kind}"


async def _cancelled(model: ChatGGUF, question: str, seconds: float) -> None:
    task = asyncio.create_task(model.ainvoke(question))
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])
