"""One rule wherever a decomposer is asked: its failure leaves the question whole; a broken set-up is raised."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError, ModelAuthenticationError
from langchain_core.messages import AIMessage, HumanMessage, ToolCall
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.errors import GraphInterrupt

from langchain_divconq.agents import DecomposeTool, DecompositionMiddleware
from langchain_divconq.asking import as_decomposer, ask_decomposer
from langchain_divconq.calls import Limiter, adrive, drive
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, DecompositionError, WeightsNotFoundError
from langchain_divconq.types import Decomposition, Question, Solution
from tests.unit_tests.fakes import PLAN, QUESTION, failing, in_turn, raising, scripted

ASKED = Question(text=QUESTION, context="It is Monday.", history=(HumanMessage("Hi"),))

# What LangChain raises where a server answers `choices: []`.
NO_CHOICES = IndexError("list index out of range")
TROUBLE = [
    (DecompositionError("There is no plan."), "There is no plan."),
    (ContextOverflowError("5000 tokens, 4096 fit\nby far"), "5000 tokens, 4096 fit"),
    (ContextOverflowError(), "ContextOverflowError"),
    (ConnectionError("no route"), "ConnectionError: no route"),
    (TimeoutError(), "TimeoutError"),
    (NO_CHOICES, "IndexError: list index out of range"),
]
BROKEN = [WeightsNotFoundError("no weights"), ModelAuthenticationError("no key"), ConfigurationError("two options")]


def by_chain(decomposer: Any, **options: Any) -> Decomposition:
    chain = DivideAndConquer(solver=scripted("Answer: 29"), decomposer=decomposer, **options)
    solution = Solution.from_message(chain.invoke(QUESTION))
    assert (solution.answer, solution.mode) == ("29", "step_by_step")
    assert solution.reason == solution.decomposition.reason
    for other in (list(chain.stream(QUESTION))[-1], asyncio.run(chain.ainvoke(QUESTION))):
        assert Solution.from_message(other).decomposition == solution.decomposition
    return solution.decomposition


def by_middleware(decomposer: Any, **options: Any) -> Decomposition:
    agent = create_agent(in_turn(AIMessage("29")), middleware=[DecompositionMiddleware(decomposer, **options)])
    state = agent.invoke({"messages": [HumanMessage(QUESTION)]})
    assert state["messages"][-1].text == "29"
    return Decomposition.model_validate(state["decomposition"])


def by_tool(decomposer: Any, **options: Any) -> Decomposition:
    tool = DecomposeTool(decomposer=decomposer, handle_tool_error=False, **options)
    message = tool.invoke(ToolCall(name=tool.name, args={"question": QUESTION}, id="1", type="tool_call"))
    assert message.status == "success"
    assert message.text == f"There are no subquestions ({message.artifact.reason}). Answer the question directly."
    decomposition: Decomposition = message.artifact
    return decomposition


everywhere = pytest.mark.parametrize("ask", [by_chain, by_middleware, by_tool])


@everywhere
@pytest.mark.parametrize(("error", "said"), TROUBLE)
def test_a_decomposer_that_fails_leaves_the_question_whole_and_the_log_says_why(
    ask: Callable[..., Decomposition], error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    decomposition = ask(failing(error))
    assert decomposition.subquestions == ()
    assert decomposition.reason == f"the decomposer failed: {said}"
    assert f"The question stays whole, since the decomposer failed: {said}" in caplog.messages


@everywhere
@pytest.mark.parametrize("error", [DecompositionError("no plan"), NO_CHOICES], ids=repr)
def test_its_failure_is_raised_where_that_is_asked_for(ask: Callable[..., Decomposition], error: Exception) -> None:
    with pytest.raises(Exception, match=r"no plan|list index out of range") as raised:
        ask(failing(error), on_trouble="raise")
    assert error in (raised.value, raised.value.__cause__)


@everywhere
@pytest.mark.parametrize("error", BROKEN, ids=repr)
def test_a_broken_set_up_is_always_raised(ask: Callable[..., Decomposition], error: Exception) -> None:
    with pytest.raises(Exception, match=r"no weights|no key|two options") as raised:
        ask(failing(error))
    assert error in (raised.value, raised.value.__cause__)


@everywhere
def test_what_returns_no_decomposition_is_a_broken_set_up(ask: Callable[..., Decomposition]) -> None:
    with pytest.raises(Exception, match="The decomposer must return a Decomposition, got str") as raised:
        ask(RunnableLambda(lambda _: "1. Why?"))
    assert any(isinstance(error, ConfigurationError) for error in (raised.value, raised.value.__cause__))


def test_a_decomposer_that_asks_a_person_may_interrupt_a_graph() -> None:
    with pytest.raises(GraphInterrupt):
        drive(ask_decomposer(RunnableLambda(raising(GraphInterrupt())), ASKED), {}, Limiter(None))


def test_the_question_comes_back_as_it_was_whatever_the_decomposer_makes_of_it() -> None:
    remote: Runnable[Any, Any] = RunnableLambda(
        lambda _: Decomposition(question=Question(text="Other?"), subquestions=("Half of it?",))
    )
    for decomposition in (
        drive(ask_decomposer(remote, ASKED), {}, Limiter(None)),
        asyncio.run(adrive(ask_decomposer(remote, ASKED), {}, Limiter(None))),
    ):
        assert decomposition.question is ASKED
        assert decomposition.subquestions == ("Half of it?",)


def test_chat_models_become_decomposers_and_all_else_stays() -> None:
    model = scripted(PLAN)
    assert as_decomposer(model, max_subquestions=4) == Decomposer(model=model, max_subquestions=4)
    for same_in_other_clothes in (model.bind(stop=["x"]), model.with_retry(), model.with_fallbacks([scripted(PLAN)])):
        assert isinstance(as_decomposer(same_in_other_clothes), Decomposer)
    no_model: Any = RunnableLambda(lambda _: PLAN)
    mixed = model.with_fallbacks([no_model])
    assert as_decomposer(mixed) is mixed
