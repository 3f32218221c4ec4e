"""Tests of traces: each stage is a named, tagged run, with its tokens where LangSmith and OpenTelemetry read them."""

from collections.abc import Iterator

import pytest
from langchain_core.tracers.schemas import Run

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.solver import Solver
from langchain_divconq.types import Solution
from tests.unit_tests.chains import build, every_mode, every_way, run
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import QUESTION, Tree


def trace(chain: DivideAndConquer, how: str) -> tuple[Run, Solution]:
    """Ask a question in one of the ways there are; return the trace and the solution."""
    tree = Tree()
    message = run(chain, how, config={"callbacks": [tree]})
    return tree.root, Solution.from_message(message)


def model_runs(run: Run) -> Iterator[Run]:
    """Yield the model calls below a run."""
    if run.run_type in ("llm", "chat_model"):
        yield run
    for child in run.child_runs:
        yield from model_runs(child)


@every_way
@every_mode
def test_each_stage_is_a_run_with_its_name_as_a_tag(mode: str, how: str) -> None:
    root, _ = trace(build(mode), how)
    asked = [] if mode == "fused" else ["divconq:subquestion-1", "divconq:subquestion-2"]
    assert root.name == "DivideAndConquer"
    assert [run.name for run in root.child_runs] == ["divconq:decompose", *asked, "divconq:solve"]
    assert [run.name for run in root.child_runs[0].child_runs] == ["divconq:plan"]
    for stage in (*root.child_runs, *root.child_runs[0].child_runs):
        assert stage.name in (stage.tags or [])
        assert stage.error is None
        assert stage.end_time is not None
        # The closing reply alone is meant for whoever watches the stream of a graph's messages.
        assert ("nostream" in (stage.tags or [])) == (stage.name != "divconq:solve")


@every_way
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
    told = {name: call.extra["metadata"][f"ls_{name}"] for name in ("provider", "model_name", "model_type")}
    assert told == {"provider": "llama.cpp", "model_name": "default", "model_type": "chat"}
    assert (call.extra["metadata"]["ls_max_tokens"], call.extra["metadata"]["ls_temperature"]) == (8, 0.5)


def test_a_solver_on_its_own_is_a_run_with_its_calls_below() -> None:
    chain = build("sequential")
    assert isinstance(chain.solver, Solver)
    tree = Tree()
    solution = Solution.from_message(chain.invoke(QUESTION))
    chain.solver.invoke(solution.decomposition, {"callbacks": [tree]})
    assert tree.root.name == "Solver"
    names = [run.name for run in tree.root.child_runs]
    assert names == ["divconq:subquestion-1", "divconq:subquestion-2", "divconq:solve"]
