"""The chain in LangGraph graphs: as a node, in a subgraph, in a function of one's own."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from langchain_divconq import Decomposition, DivideAndConquer, Solution, Solver
from langchain_divconq.agents import divide_and_conquer_node
from langchain_divconq.types import Mode
from tests.unit_tests.fakes import PLAN, QUESTION, ScriptedModel, scripted

REPLY = "3 * 12 = 36 and 36 - 7 = 29\nAnswer: 29"
ASKED: Any = {"messages": [HumanMessage(QUESTION)]}
PLAN_AND_WORDS: Any = ["custom", "messages"]


def chain(solver: ScriptedModel | None = None, mode: Mode = "fused") -> DivideAndConquer:
    return DivideAndConquer(solver=Solver(model=solver or scripted(REPLY), mode=mode), decomposer=scripted(PLAN))


def graph(action: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    builder = StateGraph(MessagesState)
    builder.add_node("answer", action)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile()


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


async def stream(graph: Any, *, is_async: bool, **options: Any) -> list[Any]:
    if is_async:
        return [part async for part in graph.astream(ASKED, stream_mode=PLAN_AND_WORDS, **options)]
    return list(graph.stream(ASKED, stream_mode=PLAN_AND_WORDS, **options))


@both
async def test_a_node_adds_the_reply_to_the_messages(is_async: bool) -> None:
    compiled = graph(divide_and_conquer_node(chain()))
    state = await compiled.ainvoke(ASKED) if is_async else compiled.invoke(ASKED)
    question, reply = state["messages"]
    assert question.text == QUESTION
    assert Solution.from_message(reply).answer == "29"


@pytest.mark.parametrize("mode", ["fused", "sequential", "parallel"])
@both
async def test_a_node_streams_the_plan_first_and_then_the_closing_reply_alone(mode: Mode, is_async: bool) -> None:
    (first, plan), *rest = await stream(graph(divide_and_conquer_node(chain(mode=mode))), is_async=is_async)
    assert first == "custom"
    assert len(Decomposition.model_validate(plan["divconq_decomposition"]).subquestions) == 2
    assert {mode for mode, _ in rest} == {"messages"}
    assert len(rest) > 5
    assert "".join(message.text for _, (message, _) in rest) == REPLY
    assert {metadata["langgraph_node"] for _, (_, metadata) in rest} == {"answer"}


@both
async def test_a_subgraph_streams_the_same_under_its_own_name(is_async: bool) -> None:
    outer = graph(graph(divide_and_conquer_node(chain())))
    streamed = await stream(outer, is_async=is_async, subgraphs=True)
    inner = [(mode, part) for namespace, mode, part in streamed if namespace and namespace[0].startswith("answer:")]
    assert inner[0][0] == "custom"
    assert inner[0][1]["divconq_decomposition"]["subquestions"]
    assert "".join(message.text for mode, (message, _) in inner[1:] if mode == "messages") == REPLY
    state = await outer.ainvoke(ASKED)
    assert [message.type for message in state["messages"]] == ["human", "ai"]


@both
async def test_what_was_said_before_reaches_the_solver(is_async: bool) -> None:
    solver = scripted(REPLY)
    compiled = graph(divide_and_conquer_node(chain(solver)))
    earlier = [SystemMessage("You are terse."), HumanMessage("Hello"), AIMessage("Hello.")]
    asked: Any = {"messages": [*earlier, HumanMessage(QUESTION)]}
    await compiled.ainvoke(asked) if is_async else compiled.invoke(asked)
    assert [message.text for message in solver.seen[0][:3]] == ["You are terse.", "Hello", "Hello."]


def test_a_function_of_ones_own_is_a_node_too() -> None:
    solver = scripted(REPLY)
    inner = chain(solver, "sequential")
    compiled = graph(lambda state: {"messages": inner.invoke(state["messages"])})
    streamed: list[Any] = list(compiled.stream(ASKED, stream_mode="messages"))
    assert "".join(message.text for message, _ in streamed) == REPLY  # of three, the closing one
    assert len(solver.seen) == 3
