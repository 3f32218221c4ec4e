"""Chains over scripted models, and every way to run them."""

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import Runnable

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.solver import Solver
from langchain_divconq.types import Solution
from tests.unit_tests.fakes import PLAN, QUESTION, ScriptedModel, scripted

REPLY = "1. 36 pens\n2. 29 pens\n\nAnswer: 29"
MODES = ["fused", "sequential", "parallel"]
WAYS = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"]

every_mode = pytest.mark.parametrize("mode", MODES)
every_way = pytest.mark.parametrize("how", WAYS)


def build(mode: Any = "fused", *, plan: str = PLAN, reply: str = REPLY, **fields: Any) -> DivideAndConquer:
    """Return a chain over two scripted models, and remember them as its `small` and `big`."""
    big = scripted(reply, model_name="big", **fields)
    return DivideAndConquer(
        solver=Solver(model=big, mode=mode), decomposer=scripted(plan, model_name="small", delay=fields.get("delay", 0))
    )


def big(chain: DivideAndConquer) -> ScriptedModel:
    assert isinstance(chain.solver, Solver)
    assert isinstance(chain.solver.model, ScriptedModel)
    return chain.solver.model


def small(chain: DivideAndConquer) -> ScriptedModel:
    assert isinstance(chain.decomposer, Decomposer)
    assert isinstance(chain.decomposer.model, ScriptedModel)
    return chain.decomposer.model


def run(chain: Runnable[Any, Any], how: str, question: Any = QUESTION, config: Any = None) -> Any:
    """Ask one question in one of the ways; a stream's chunks are added up."""

    async def streamed() -> list[Any]:
        return [chunk async for chunk in chain.astream(question, config)]

    if how in ("stream", "astream"):
        return total(list(chain.stream(question, config)) if how == "stream" else asyncio.run(streamed()))
    asked: dict[str, Any] = {
        "invoke": lambda: chain.invoke(question, config),
        "ainvoke": lambda: asyncio.run(chain.ainvoke(question, config)),
        "batch": lambda: chain.batch([question], config)[0],
        "abatch": lambda: asyncio.run(chain.abatch([question], config))[0],
    }
    return asked[how]()


def total(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def timeless(solution: Solution) -> dict[str, Any]:
    """Return a solution without the seconds, which differ from run to run."""
    payload = solution.model_dump(mode="json")
    for usage in (payload["usage"]["decompose"], payload["usage"]["solve"], payload["decomposition"]["usage"]):
        usage["seconds"] = None
    return payload
