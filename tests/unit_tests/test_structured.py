"""Tests of typed input and output of a ChatGGUF: messages, schemas, an agent's response format."""

from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.messages import chat_roles
from langchain_divconq.solver import Solver
from langchain_divconq.types import Solution
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import PLAN, QUESTION, scripted


class Sky(BaseModel):
    """The sky."""

    colour: str


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_agent_over_it_answers_by_a_schema_and_is_told_that_it_calls_no_tools(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, engine := FakeEngine(['{"colour"', ': "blue"}']))
    asked: Any = {"messages": [HumanMessage("What colour is the sky?")]}
    agent = create_agent(ChatGGUF(), response_format=Sky)
    state = await agent.ainvoke(asked) if is_async else agent.invoke(asked)
    assert state["structured_response"] == Sky(colour="blue")
    assert "colour" in str(engine.requests[0].grammar)
    with_tools = create_agent(ChatGGUF(), tools=[len])
    with pytest.raises(ConfigurationError, match="A GGUF chat model calls no tools, and was given 1"):
        await with_tools.ainvoke(asked) if is_async else with_tools.invoke(asked)


def test_messages_become_roles_and_neighbours_of_one_role_one_message() -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("a"),
        HumanMessage([{"type": "text", "text": "b"}, "c"]),
        AIMessage("d"),
        ChatMessage(content="e", role="user"),
        AIMessageChunk(content="f"),
    ]
    assert chat_roles(messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\n\nbc"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
    ]


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "no messages"),
        ([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])], "a block of type 'image_url'"),
        ([ToolMessage("x", tool_call_id="1")], "a message of the role 'tool'"),
        ([AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])], "an AI message that calls a tool"),
        ([ChatMessage(content="x", role="judge")], "a message of the role 'judge'"),
    ],
)
def test_no_messages_and_such_as_are_not_text_are_refused(engine: FakeEngine, messages: Any, fault: str) -> None:
    with pytest.raises(InvalidQuestionError, match=fault):
        ChatGGUF().invoke(messages)


class Person(BaseModel):
    """Someone."""

    name: str
    age: int


class PersonDict(TypedDict):
    """Someone."""

    name: str
    age: int


@pytest.mark.parametrize("schema", [Person, PersonDict, Person.model_json_schema()])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_structured_output_parses_and_is_held_to_the_schema(
    monkeypatch: pytest.MonkeyPatch, schema: Any, method: Literal["json_schema", "json_mode"]
) -> None:
    install(monkeypatch, engine := FakeEngine(['{"name": "Bo', 'b", "age": 42}']))
    person = ChatGGUF().with_structured_output(schema, method=method).invoke("Bob is 42.")
    assert person == (Person(name="Bob", age=42) if schema is Person else {"name": "Bob", "age": 42})
    assert engine.requests[0].grammar is not None
    assert ("age" in engine.requests[0].grammar) == (method == "json_schema")


def test_structured_output_can_keep_the_raw_reply_and_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeEngine(["not json"]))
    result = ChatGGUF().with_structured_output(Person, include_raw=True).invoke("x")
    assert isinstance(result, dict)
    assert result["raw"].text == "not json"
    assert result["parsed"] is None
    assert result["parsing_error"] is not None


def test_structured_output_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigurationError, match="method is 'magic'"):
        ChatGGUF().with_structured_output(Person, method="magic")
    with pytest.raises(ConfigurationError, match="does not know tools"):
        ChatGGUF().with_structured_output(Person, tools=[])


def test_a_solver_over_it_gives_structured_and_typed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(['{"working": "It is noon.",', ' "answer": "blue"}']))
    chain = DivideAndConquer(Solver(model=ChatGGUF(), structured=True), decomposer=scripted(PLAN))
    for message in (chain.invoke(QUESTION, max_tokens=30), list(chain.stream(QUESTION))[-1]):
        assert Solution.from_message(message).answer == "blue"
    assert engine.requests[0].max_tokens == 30
    assert "working" in str(engine.requests[0].grammar)
    install(monkeypatch, FakeEngine(['{"colour":', ' "blue"}']))
    typed = DivideAndConquer(ChatGGUF(), decomposer=scripted(PLAN)).with_structured_output(Sky)
    assert typed.invoke(QUESTION) == Sky(colour="blue")
