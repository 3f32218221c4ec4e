"""What a tracer sees: each stage a named, tagged run, with its tokens where LangSmith and OpenTelemetry read them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.solver import Solver
from langchain_divconq.types import Solution
from langchain_divconq.usage import StageUsage
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import PLAN, QUESTION, scripted

MODES = ["fused", "sequential", "parallel"]
WAYS = ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"]


class Recorder(BaseTracer):
    """Keeps the finished trace, as an exporter gets it."""

    def __init__(self) -> None:
        super().__init__()
        self.root: Run | None = None

    def _persist_run(self, run: Run) -> None:
        self.root = run


def trace(chain: DivideAndConquer, how: str) -> tuple[Run, Solution]:
    """Ask a question in one of the ways there are; return the trace and the solution."""
    tracer = Recorder()
    config: Any = {"callbacks": [tracer]}

    async def astream() -> list[AIMessage]:
        return [chunk async for chunk in chain.astream(QUESTION, config)]

    message = {
        "invoke": lambda: chain.invoke(QUESTION, config),
        "stream": lambda: list(chain.stream(QUESTION, config))[-1],
        "batch": lambda: chain.batch([QUESTION], config)[0],
        "ainvoke": lambda: asyncio.run(chain.ainvoke(QUESTION, config)),
        "astream": lambda: asyncio.run(astream())[-1],
        "abatch": lambda: asyncio.run(chain.abatch([QUESTION], config))[0],
    }[how]()
    assert tracer.root is not None
    return tracer.root, Solution.from_message(message)


def model_runs(run: Run) -> Iterator[Run]:
    """Yield the model calls below a run."""
    if run.run_type in ("llm", "chat_model"):
        yield run
    for child in run.child_runs:
        yield from model_runs(child)


def counted(runs: list[Run]) -> tuple[int, int, int]:
    """Add up calls and tokens as an exporter does: from the messages in the outputs of model runs."""
    read = written = 0
    for run in runs:
        assert run.outputs is not None
        [[generation]] = run.outputs["generations"]
        message = generation["message"]  # serialised, as an exporter gets it
        usage = message["kwargs"]["usage_metadata"]
        read, written = read + usage["input_tokens"], written + usage["output_tokens"]
    return len(runs), read, written


def used(usage: StageUsage) -> tuple[int, int, int]:
    return usage.calls, usage.input_tokens, usage.output_tokens


def build(mode: Any) -> DivideAndConquer:
    model = scripted("1. 36 pens\n2. 29 pens\n\nAnswer: 29", model_name="big")
    return DivideAndConquer(solver=Solver(model=model, mode=mode), decomposer=scripted(PLAN, model_name="small"))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_the_tokens_in_the_trace_are_those_in_the_solution(mode: str, how: str) -> None:
    root, solution = trace(build(mode), how)
    dividing = [run for run in root.child_runs if run.name == "divconq:decompose"]
    solving = [run for run in root.child_runs if run.name != "divconq:decompose"]
    assert len(dividing) == 1
    assert counted(list(model_runs(dividing[0]))) == used(solution.usage.decompose)
    assert counted([call for run in solving for call in model_runs(run)]) == used(solution.usage.solve)
    assert counted(list(model_runs(root))) == used(solution.usage.total)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_each_stage_is_a_run_with_its_name_as_a_tag(mode: str, how: str) -> None:
    root, _ = trace(build(mode), how)
    asked = [] if mode == "fused" else ["divconq:subquestion-1", "divconq:subquestion-2"]
    assert root.name == "DivideAndConquer"
    assert [run.name for run in root.child_runs] == ["divconq:decompose", *asked, "divconq:solve"]
    assert [run.name for run in root.child_runs[0].child_runs] == ["divconq:plan"]
    for run in (*root.child_runs, *root.child_runs[0].child_runs):
        assert run.name in (run.tags or [])
        assert run.error is None
        assert run.end_time is not None
        # The closing reply alone is meant for whoever watches the stream of a graph's messages.
        assert ("nostream" in (run.tags or [])) == (run.name != "divconq:solve")


@pytest.mark.parametrize("how", WAYS)
def test_the_run_of_the_whole_carries_the_solution(how: str) -> None:
    root, solution = trace(build("sequential"), how)
    assert root.outputs is not None
    message = root.outputs["output"]
    assert Solution.from_message(message).answer == solution.answer == "29"
    assert message.usage_metadata["input_tokens"] == solution.usage.solve.input_tokens


def test_a_gguf_says_who_provided_which_model(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeEngine(["Answer", ": 29"]))
    model = ChatGGUF(max_tokens=8, temperature=0.5)
    chain = DivideAndConquer(solver=model, decomposer=Decomposer(model=model, gate="never"))
    root, _ = trace(chain, "invoke")
    [call] = model_runs(root)
    metadata = call.extra["metadata"]
    assert metadata["ls_provider"] == "llama.cpp"
    assert metadata["ls_model_name"] == "default"
    assert metadata["ls_model_type"] == "chat"
    assert metadata["ls_max_tokens"] == 8
    assert metadata["ls_temperature"] == 0.5


def test_a_solver_on_its_own_is_a_run_with_its_calls_below() -> None:
    chain = build("sequential")
    assert isinstance(chain.solver, Solver)
    tracer = Recorder()
    solution = Solution.from_message(chain.invoke(QUESTION))
    again = chain.solver.invoke(solution.decomposition, {"callbacks": [tracer]})
    assert tracer.root is not None
    assert tracer.root.name == "Solver"
    names = [run.name for run in tracer.root.child_runs]
    assert names == ["divconq:subquestion-1", "divconq:subquestion-2", "divconq:solve"]
    assert counted(list(model_runs(tracer.root))) == used(again.usage.solve)
