"""Agents and graphs with real models: the decomposer in process, the agent's model behind a llama.cpp server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.tracers.schemas import Run
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from openai import DefaultAsyncHttpxClient

from langchain_divconq import ChatGGUF, Decomposer, Decomposition, DivideAndConquer, Solution
from langchain_divconq.agents import (
    DecomposeTool,
    DecompositionMiddleware,
    DivideAndConquerTool,
    divide_and_conquer_node,
)
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.integration_tests.clients import connect
from tests.integration_tests.llama_server import TOOLS, running
from tests.integration_tests.run_tree import collected_runs

QUESTION = "Who is the spouse of the author of the novel Emma?"
ASKED: Any = {"messages": [("user", QUESTION)]}


@pytest.fixture(scope="module")
def address(gguf_path: Path) -> Iterator[str]:
    """A server process that lives as long as this module's tests."""
    with running(gguf_path, TOOLS) as url:
        yield url


@pytest.fixture
def model(address: str) -> ChatOpenAI:
    return connect(address, max_completion_tokens=96)


@pytest.fixture
def decomposer(engine_name: EngineName) -> Decomposer:
    return Decomposer(model=ChatGGUF(engine=engine_name), gate="always")


def build(model: ChatOpenAI, decomposer: Decomposer, **options: Any) -> Any:
    # No tools: a model of this size writes calls that the server refuses. examples/agent_middleware.txt shows one that
    # calls a tool.
    middleware: list[AgentMiddleware[Any, Any, Any]] = [
        DecompositionMiddleware(decomposer, on_trouble="raise"),
        ModelCallLimitMiddleware(run_limit=3),
    ]
    return create_agent(model, [], system_prompt="You are terse.", middleware=middleware, **options)


def below(run: Run) -> Iterator[Run]:
    yield run
    for child in run.child_runs:
        yield from below(child)


def check_agent(runs: list[Run], state: dict[str, Any]) -> None:
    """Check one run of the agent: its tree, what its model was shown, and what is left in the state."""
    [root] = runs
    named: dict[str, list[Run]] = {}
    for run in below(root):
        named.setdefault(run.name, []).append(run)
    [before], [decompose] = named["DecompositionMiddleware.before_agent"], named["divconq:decompose"]
    assert decompose.parent_run_id == before.id
    assert {plan.parent_run_id for plan in named["divconq:plan"]} == {decompose.id}
    subquestions = Decomposition.model_validate(state["decomposition"]).subquestions
    assert 1 <= len(subquestions) <= 3
    shown = "\n".join(f"{number}. {subquestion}" for number, subquestion in enumerate(subquestions, start=1))
    for call in named["ChatOpenAI"]:
        system = call.inputs["prompts"][0].partition("\nHuman: ")[0]
        assert system.startswith("System: You are terse.\n\n")
        assert system.endswith(shown)
    assert not any(shown in message.text for message in state["messages"])
    assert any(isinstance(message, AIMessage) and message.usage_metadata for message in state["messages"])


def test_a_served_agent_is_shown_the_plan_that_was_made_in_process(model: ChatOpenAI, decomposer: Decomposer) -> None:
    with collected_runs() as runs:
        state = build(model, decomposer).invoke(ASKED)
    check_agent(runs, state)


async def test_the_same_without_blocking_the_event_loop(address: str, decomposer: Decomposer) -> None:
    async with DefaultAsyncHttpxClient() as client:  # the one that ChatOpenAI keeps would outlive this event loop
        with collected_runs() as runs:
            state = await build(
                connect(address, max_completion_tokens=96, http_async_client=client), decomposer
            ).ainvoke(ASKED)
    check_agent(runs, state)


def test_a_stream_holds_the_agents_words_alone(model: ChatOpenAI, decomposer: Decomposer) -> None:
    streamed = list(build(model, decomposer).stream(ASKED, stream_mode=["custom", "messages"]))
    (first, plan), *rest = streamed
    assert first == "custom"
    assert plan["divconq_decomposition"]["subquestions"]
    nodes = {metadata["langgraph_node"] for mode, (_, metadata) in rest if mode == "messages"}
    assert "model" in nodes
    assert not any("before_agent" in node and "Decomposition" in node for node in nodes)


def test_a_thread_divides_its_next_question_anew(model: ChatOpenAI, decomposer: Decomposer) -> None:
    agent = build(model, decomposer, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert agent.invoke(ASKED, config)["decomposition"]["question"]["text"] == QUESTION
    following = "In which country was the composer of the opera Norma born?"
    with collected_runs() as runs:
        state = agent.invoke({"messages": [("user", following)]}, config)
    assert state["decomposition"]["question"]["text"] == following
    check_agent(runs, state)


def test_the_tools_answer_with_real_models(model: ChatOpenAI, decomposer: Decomposer) -> None:
    chain = DivideAndConquer(solver=model, decomposer=decomposer)
    call = ToolCall(name="either", args={"question": QUESTION}, id="1", type="tool_call")
    plan = DecomposeTool(decomposer=decomposer).invoke(call)
    assert plan.text.startswith("1. ")
    answer = DivideAndConquerTool(chain=chain).invoke(call)
    assert isinstance(answer.artifact, Solution)
    assert answer.text == (answer.artifact.answer or answer.artifact.text) != ""
    assert answer.artifact.subquestions == plan.artifact.subquestions


def test_a_node_streams_the_plan_and_then_the_served_reply(model: ChatOpenAI, decomposer: Decomposer) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("answer", divide_and_conquer_node(DivideAndConquer(solver=model, decomposer=decomposer)))
    graph.add_edge(START, "answer")
    streamed: list[Any] = list(graph.compile().stream(ASKED, stream_mode=["custom", "messages"]))
    (first, plan), *rest = streamed
    assert first == "custom"
    assert plan["divconq_decomposition"]["subquestions"]
    assert {mode for mode, _ in rest} == {"messages"}
    assert len(rest) > 5
    reply = graph.compile().invoke(ASKED)["messages"][-1]
    assert "".join(message.text for _, (message, _) in rest) == reply.text
