"""The tools, on their own and as an agent calls them."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, ToolException
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.schemas import Run
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.tools import load_mcp_tools, to_fastmcp
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session

from langchain_divconq import Decomposer, Decomposition, DivideAndConquer, InvalidQuestionError, Question, Solution
from langchain_divconq.agents import DecomposeTool, DivideAndConquerTool
from tests.unit_tests.fakes import PLAN, QUESTION, SUBQUESTIONS, ScriptedModel, calls, in_turn, scripted


def decompose_tool(model: ScriptedModel | None = None, **fields: Any) -> DecomposeTool:
    return DecomposeTool(decomposer=model or scripted(PLAN), **fields)


def answer_tool(reply: str = "36 - 7 = 29\nAnswer: 29", **fields: Any) -> DivideAndConquerTool:
    chain = DivideAndConquer(solver=scripted(reply), decomposer=scripted(PLAN))
    return DivideAndConquerTool(chain=chain, **fields)


def called(tool: BaseTool, **arguments: Any) -> ToolMessage:
    message = tool.invoke(ToolCall(name=tool.name, args=arguments, id="1", type="tool_call"))
    assert isinstance(message, ToolMessage)
    return message


class Dividing:
    tool_constructor: Any = DecomposeTool
    tool_constructor_params: Any = {"decomposer": scripted(PLAN)}  # noqa: RUF012
    tool_invoke_params_example: Any = {"question": QUESTION, "context": "The boxes are full."}  # noqa: RUF012


class Answering(Dividing):
    tool_constructor = DivideAndConquerTool
    tool_constructor_params: Any = {"chain": DivideAndConquer(scripted("Answer: 29"), decomposer=scripted(PLAN))}  # noqa: RUF012


class TestDecomposeTool(Dividing, ToolsUnitTests):
    """The standard unit tests."""


class TestDecomposeToolCalled(Dividing, ToolsIntegrationTests):
    """The standard tests of calls."""


class TestDivideAndConquerTool(Answering, ToolsUnitTests):
    """The standard unit tests."""


class TestDivideAndConquerToolCalled(Answering, ToolsIntegrationTests):
    """The standard tests of calls."""


def test_a_question_becomes_numbered_subquestions_with_the_decomposition_as_artifact() -> None:
    message = called(decompose_tool(), question=QUESTION)
    assert message.content == PLAN
    assert isinstance(message.artifact, Decomposition)
    assert message.artifact.subquestions == SUBQUESTIONS
    assert message.status == "success"


def test_the_context_reaches_the_decomposer() -> None:
    model = scripted(PLAN)
    message = called(decompose_tool(model), question=QUESTION, context="The boxes are full.")
    assert message.artifact.question == Question(text=QUESTION, context="The boxes are full.")
    assert "Context: The boxes are full." in model.seen[0][-1].text


def test_a_question_that_needs_no_decomposition_is_to_be_answered_directly() -> None:
    message = called(
        decompose_tool(scripted("No decomposition needed.")), question="What is the sum of the first two primes?"
    )
    assert message.content == (
        "There are no subquestions (the decomposer says that no decomposition is needed). Answer the question directly."
    )
    assert message.artifact.subquestions == ()


def test_a_question_becomes_its_answer_with_the_solution_as_artifact() -> None:
    message = called(answer_tool(), question=QUESTION)
    assert message.content == "29"
    assert isinstance(message.artifact, Solution)
    assert message.artifact.text == "36 - 7 = 29\nAnswer: 29"
    assert message.artifact.subquestions == SUBQUESTIONS


def test_a_reply_without_a_short_answer_is_given_whole() -> None:
    reply = "Some are left.\nHow many, nobody counted."
    assert called(answer_tool(reply), question=QUESTION).content == reply


async def test_async_calls_give_the_same() -> None:
    for tool in (decompose_tool(), answer_tool()):
        call = ToolCall(name=tool.name, args={"question": QUESTION}, id="1", type="tool_call")
        awaited = await tool.ainvoke(call)
        assert awaited.content == called(tool, question=QUESTION).content
        assert type(awaited.artifact) is type(called(tool, question=QUESTION).artifact)


def test_a_context_of_none_is_no_context() -> None:
    for tool in (decompose_tool(), answer_tool()):
        assert called(tool, question=QUESTION, context=None).status == "success"
    assert called(decompose_tool(), question=QUESTION, context=None).artifact.question.context is None


def test_a_string_is_a_question_too() -> None:
    assert decompose_tool().invoke(QUESTION).startswith("1. How many pens")


@pytest.mark.parametrize("tool", [decompose_tool(), answer_tool()], ids=lambda tool: tool.name)
def test_a_model_is_shown_a_question_and_a_context_alone(tool: BaseTool) -> None:
    function = convert_to_openai_tool(tool)["function"]
    assert list(function["parameters"]["properties"]) == ["question", "context"]
    assert function["parameters"]["required"] == ["question"]
    question, context = function["parameters"]["properties"].values()
    assert question["type"] == "string"
    assert {"type": "null"} in context["anyOf"]
    assert question["description"]
    assert context["description"]
    assert len(function["description"]) > 100


@pytest.mark.parametrize("question", ["", "  "])
@pytest.mark.parametrize("tool", [decompose_tool(), answer_tool()], ids=lambda tool: tool.name)
def test_an_empty_question_comes_back_as_a_message_that_says_so(tool: BaseTool, question: str) -> None:
    message = called(tool, question=question)
    assert message.status == "error"
    assert "The question is empty" in message.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_without_a_tool_call_there_is_no_message_to_mark_and_errors_are_raised(is_async: bool) -> None:
    tool = decompose_tool()
    with pytest.raises(ToolException, match="The question is empty"):
        await tool.ainvoke({"question": " "}) if is_async else tool.invoke({"question": " "})
    assert tool.handle_tool_error is True


def test_errors_are_raised_where_they_are_asked_for() -> None:
    with pytest.raises(ToolException, match="The question is empty") as raised:
        called(decompose_tool(handle_tool_error=False), question="")
    assert isinstance(raised.value.__cause__, InvalidQuestionError)


def test_a_decomposer_may_be_any_runnable() -> None:
    tool = DecomposeTool(decomposer=RunnableLambda(lambda asked: Decomposition(question=asked, subquestions=("Why?",))))
    assert called(tool, question=QUESTION).content == "1. Why?"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"question": " "}, "The question is empty"), ({"query": QUESTION}, "question")],
    ids=["empty", "missing"],
)
def test_an_agent_recovers_from_a_call_that_went_wrong(wrong: dict[str, str], said: str) -> None:
    model = in_turn(
        calls("decompose_question", **wrong), calls("decompose_question", question=QUESTION), AIMessage("There are 29.")
    )
    messages = create_agent(model, [decompose_tool()]).invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    failed, succeeded = (message for message in messages if isinstance(message, ToolMessage))
    assert failed.status == "error"
    assert said in failed.text
    assert succeeded.content == PLAN
    assert messages[-1].content == "There are 29."


@pytest.mark.parametrize("make", [decompose_tool, answer_tool])
async def test_nothing_that_runs_in_a_tool_is_streamed_as_the_agents_words(make: Callable[[], BaseTool]) -> None:
    tool = make()
    agent = create_agent(in_turn(calls(tool.name, question=QUESTION), AIMessage("There are 29.")), [tool])
    asked: Any = {"messages": [HumanMessage(QUESTION)]}
    streams: tuple[list[Any], list[Any]] = (
        list(agent.stream(asked, stream_mode="messages")),
        [part async for part in agent.astream(asked, stream_mode="messages")],
    )
    for streamed in streams:
        assert {metadata["langgraph_node"] for _, metadata in streamed} == {"model", "tools"}
        from_tools = [message for message, metadata in streamed if metadata["langgraph_node"] == "tools"]
        assert [type(message) for message in from_tools] == [ToolMessage]
        words = [message.text for message, metadata in streamed if metadata["langgraph_node"] == "model"]
        assert "".join(words) == "There are 29."


def test_the_decomposer_and_the_chain_are_children_of_the_tools_run() -> None:
    with collect_runs() as collected:
        called(decompose_tool(), question=QUESTION)
        called(answer_tool(), question=QUESTION)

    def tree(run: Run) -> dict[str, Any]:
        return {run.name: [tree(child) for child in run.child_runs]}

    decomposing: dict[str, Any] = {"divconq:decompose": [{"divconq:plan": []}]}
    assert [tree(run) for run in collected.traced_runs] == [
        {"decompose_question": [decomposing]},
        {"answer_complex_question": [{"DivideAndConquer": [decomposing, {"divconq:solve": []}]}]},
    ]
    [decompose] = collected.traced_runs[0].child_runs
    assert {"divconq:decompose", "nostream"} <= set(decompose.tags or [])


def test_a_chat_model_is_made_a_decomposer() -> None:
    model = scripted(PLAN)
    assert DecomposeTool(decomposer=model).decomposer == Decomposer(model=model)


async def test_the_tools_are_served_over_mcp_and_used_from_there() -> None:
    server = FastMCP(tools=[to_fastmcp(tool) for tool in (decompose_tool(), answer_tool())])
    async with create_connected_server_and_client_session(server) as session:
        decompose, answer = await load_mcp_tools(session)
        assert (decompose.name, answer.name) == ("decompose_question", "answer_complex_question")
        assert decompose.description == decompose_tool().description
        assert list(decompose.args) == ["question", "context"]
        [plan] = await decompose.ainvoke({"question": QUESTION})
        assert plan["text"] == PLAN
        told = await session.call_tool("decompose_question", {"question": " "})
        assert told.isError
        assert "The question is empty" in str(told.content)
        [found] = await answer.ainvoke({"question": QUESTION, "context": "The boxes are full."})
        assert found["text"] == "29"
