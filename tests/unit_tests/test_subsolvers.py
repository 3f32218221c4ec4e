"""Whoever answers the subquestions: what it is given, what is read from it, how its work is counted and shown."""

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from pydantic import ValidationError

from langchain_divconq.budget import Budget
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Question, Solution, Subanswer
from langchain_divconq.usage import Price
from tests.unit_tests.fakes import ScriptedModel, Tree, raising, scripted
from tests.unit_tests.test_solver import BRIDGE

ANSWERS = {"When was the bridge opened?": "1931", "Who was mayor in 1931?": "Ada Holm"}
one_by_one = pytest.mark.parametrize("mode", ["sequential", "parallel"])


def solve(subsolver: Any, mode: Any = "sequential", **fields: Any) -> Solution:
    model = scripted("It follows.\nAnswer: Ada Holm")
    return Solver(model=model, mode=mode, subsolver=subsolver, **fields).invoke(BRIDGE)


def look_up(subquestion: str) -> str:
    return ANSWERS[subquestion]


def answers(solution: Solution) -> list[str | None]:
    return [subanswer.answer for subanswer in solution.subanswers or ()]


@one_by_one
def test_it_is_asked_the_subquestion_alone_with_references_filled_in_and_the_model_closes(mode: Any) -> None:
    asked: list[Any] = []
    model = scripted("Answer: Ada Holm")

    def remember(subquestion: str) -> str:
        asked.append(subquestion)
        return look_up(subquestion)

    solution = Solver(model=model, mode=mode, subsolver=RunnableLambda(remember)).invoke(BRIDGE)
    assert asked == [*ANSWERS]
    assert solution.subanswers == tuple(Subanswer(subquestion=one, answer=answer) for one, answer in ANSWERS.items())
    assert (solution.answer, solution.mode) == ("Ada Holm", mode)
    [[prompt]] = model.seen
    assert "- When was the bridge opened? 1931" in prompt.text
    assert "- Who was mayor in 1931? Ada Holm" in prompt.text


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("1931", "1931"),
        (AIMessage("1931"), "1931"),
        (AIMessageChunk(content="1931"), "1931"),
        ("It stands in the book.\nAnswer: 1931", "1931"),
        ("The bridge was opened in 1931.\n\nIt was a Sunday.", "The bridge was opened in 1931. It was a Sunday."),
        ("  \n", None),
        ({"messages": [HumanMessage("When?"), AIMessage("1931")]}, "1931"),
    ],
)
def test_it_may_return_text_a_message_or_a_state_that_ends_with_one(output: Any, answer: str | None) -> None:
    assert answers(solve(RunnableLambda(lambda _: output)))[0] == answer


@pytest.mark.parametrize("output", [None, 7, ["a", "b"], {"answer": "1931"}, {"messages": [HumanMessage("When?")]}])
def test_whatever_else_it_returns_is_refused_in_words(output: Any) -> None:
    with pytest.raises(ConfigurationError, match="must return a message or text"):
        solve(RunnableLambda(lambda _: output))


def test_a_chain_with_one_variable_takes_the_subquestion() -> None:
    model = scripted("1931")
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")]) | model
    assert answers(solve(chain | StrOutputParser())) == ["1931", "1931"]
    assert [messages[-1].text for messages in model.seen] == ["When was the bridge opened?", "Who was mayor in 1931?"]


@pytest.mark.parametrize("bound", [False, True])
def test_another_chat_model_is_asked_as_the_solvers_own(bound: bool) -> None:
    other = scripted("Let me see.\nAnswer: 1931", model_name="other")
    solution = solve(other.bind(temperature=0.5) if bound else other)
    assert "stands in Lund" in other.seen[0][-1].text
    assert "answer only this subquestion:\nWhen was the bridge opened?" in other.seen[0][-1].text
    assert "- When was the bridge opened? 1931" in other.seen[1][-1].text
    assert answers(solution) == ["1931", "1931"]


def test_an_agent_gets_the_subquestion_as_its_message_and_its_last_message_counts() -> None:
    agents = pytest.importorskip("langchain.agents")
    model = scripted("1931", model_name="agent")
    solution = solve(agents.create_agent(model, []))
    assert [[message.text for message in messages] for messages in model.seen] == [[one] for one in ANSWERS]
    assert answers(solution) == ["1931", "1931"]
    assert solution.usage.solve.unmetered_calls == 0


def test_an_agents_run_is_one_call_with_the_tokens_of_all_its_replies() -> None:
    def reply(text: str) -> AIMessage:
        return AIMessage(text, usage_metadata={"input_tokens": 10, "output_tokens": 2, "total_tokens": 12})

    def act(subquestion: str) -> dict[str, list[BaseMessage]]:
        earlier = [HumanMessage("Before?"), reply("Yes.")]
        now = [HumanMessage(subquestion), reply(""), ToolMessage("1931", tool_call_id="1"), reply("1931")]
        return {"messages": [*earlier, *now]}

    alone = solve(RunnableLambda(lambda _: "1931")).usage.solve
    usage = solve(RunnableLambda(act)).usage.solve
    assert usage.calls == 3
    assert usage.input_tokens - alone.input_tokens == 2 * 20
    assert usage.output_tokens - alone.output_tokens == 2 * 4


# Routing


@one_by_one
def test_a_function_picks_who_answers_and_none_is_the_model(mode: Any) -> None:
    routed: list[tuple[str, str]] = []
    archive: Runnable[Any, Any] = RunnableLambda(lambda _: "1931")

    def route(subquestion: str, question: Question) -> Runnable[Any, Any] | None:
        routed.append((subquestion, question.text))
        return archive if subquestion.startswith("When") else None

    model = scripted("Answer: Ada Holm")
    solution = Solver(model=model, mode=mode, subsolver=route).invoke(BRIDGE)
    assert routed == [(subquestion, BRIDGE.question.text) for subquestion in ANSWERS]
    assert answers(solution) == ["1931", "Ada Holm"]
    assert len(model.seen) == 2


def test_what_picks_no_runnable_is_none_or_goes_with_one_call_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="given as subsolver must return a Runnable or None, got str"):
        solve(lambda subquestion, question: "1931")
    with pytest.raises(ValidationError, match="subsolver"):
        solve("archive")
    with pytest.raises(ValidationError, match='A subsolver needs mode="sequential" or "parallel"'):
        solve(scripted("y"), "fused")


def test_a_question_that_is_not_divided_goes_to_the_model() -> None:
    undivided = Decomposition(question=Question(text="What is 2 + 2?"))
    solver = Solver(model=scripted("Answer: 4"), mode="sequential", subsolver=RunnableLambda(lambda _: "five"))
    assert solver.invoke(undivided).answer == "4"


# How it is run, counted and shown


def test_dollars_that_pay_for_the_closing_call_pay_for_a_subsolver_that_costs_none() -> None:
    model = scripted("Answer: Ada Holm").bind(max_tokens=100)
    decomposer: Runnable[Any, Any] = RunnableLambda(lambda _: BRIDGE)

    def mode(subsolver: Any) -> str:
        solver = Solver(model=model, mode="sequential", subsolver=subsolver, price=Price(input=0, output=1e4))
        message = DivideAndConquer(solver=solver, decomposer=decomposer).invoke("Who?", budget=Budget(dollars=1.5))
        return Solution.from_message(message).mode

    assert mode(RunnableLambda(look_up)) == "sequential"
    assert mode(None) == "fused"


def chain(subsolver: Any, mode: Any = "sequential") -> tuple[DivideAndConquer, ScriptedModel]:
    model = scripted("It follows.\nAnswer: Ada Holm", model_name="big")
    decomposer: Runnable[Any, Any] = RunnableLambda(lambda question: BRIDGE)
    return DivideAndConquer(solver=Solver(model=model, mode=mode, subsolver=subsolver), decomposer=decomposer), model


@one_by_one
def test_all_ways_to_run_it_agree_and_the_closing_reply_streams(mode: Any) -> None:
    divided, _ = chain(RunnableLambda(look_up), mode)

    async def asynchronously() -> list[AIMessage]:
        streamed = [chunk async for chunk in divided.astream("Who?")]
        return [await divided.ainvoke("Who?"), *await divided.abatch(["Who?", "Who?"]), streamed[-1]]

    chunks = list(divided.stream("Who?"))
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == "It follows.\nAnswer: Ada Holm"
    for message in (divided.invoke("Who?"), *divided.batch(["Who?"]), chunks[-1], *asyncio.run(asynchronously())):
        assert answers(Solution.from_message(message)) == ["1931", "Ada Holm"]


@one_by_one
def test_it_runs_under_the_subquestions_name_with_its_own_runs_below(mode: Any) -> None:
    subsolver = ChatPromptTemplate.from_template("{question}") | scripted("1931")
    divided, _ = chain(subsolver, mode)
    for run in (divided.invoke, lambda *given: asyncio.run(divided.ainvoke(*given))):
        tree = Tree()
        run("Who?", {"callbacks": [tree], "metadata": {"user": 7}})
        names = [child.name for child in tree.root.child_runs]
        assert names == ["divconq:decompose", "divconq:subquestion-1", "divconq:subquestion-2", "divconq:solve"]
        asked = tree.root.child_runs[1]
        assert [child.name for child in asked.child_runs] == ["ChatPromptTemplate", "ScriptedModel"]
        assert set(asked.tags or []) >= {"divconq:subquestion-1", "nostream"}
        assert asked.child_runs[1].extra["metadata"]["user"] == 7


def test_its_tokens_are_counted_and_its_dollars_are_not() -> None:
    other, counter = scripted("1931", model_name="other"), UsageMetadataCallbackHandler()
    model = scripted("Answer: Ada Holm", model_name="big")
    solver = Solver(model=model, mode="sequential", subsolver=other, price=Price(input=1e6, output=0))
    usage = solver.invoke(BRIDGE, {"callbacks": [counter]}).usage.solve
    counted = counter.usage_metadata
    assert usage.calls == 3
    assert usage.input_tokens == counted["big"]["input_tokens"] + counted["other"]["input_tokens"]
    assert usage.dollars == counted["big"]["input_tokens"]


def test_keyword_arguments_go_to_the_model_alone() -> None:
    other = scripted("1931")
    divided, model = chain(other)
    divided.invoke("Who?", temperature=0.7)
    assert other.options == [{}, {}]
    assert model.options == [{"temperature": 0.7}]


def test_its_configurable_fields_are_found_and_obeyed() -> None:
    default, other = scripted("Answer: 1931"), scripted("Answer: 1870")
    either = default.configurable_alternatives(ConfigurableField(id="who"), default_key="default", other=other)
    divided, _ = chain(either)
    assert "who" in {spec.id for spec in divided.config_specs}
    solution = Solution.from_message(divided.invoke("Who?", {"configurable": {"who": "other"}}))
    assert answers(solution) == ["1870", "1870"]
    assert default.seen == []
    assert "answer only this subquestion" in other.seen[0][-1].text  # asked as a chat model is


def test_a_budget_that_steps_down_leaves_it_out() -> None:
    divided, _ = chain(RunnableLambda(raising(AssertionError("The budget pays for one call alone."))))
    solution = Solution.from_message(divided.invoke("Who?", budget=Budget(tokens=2_000)))
    assert solution.mode == "fused"
    assert "the budget does not pay for sequential" in solution.reason


def test_its_failure_ends_the_run() -> None:
    divided, model = chain(RunnableLambda(raising(PermissionError("no key"))))
    with pytest.raises(PermissionError, match="no key"):
        divided.invoke("Who?")
    assert model.seen == []
