"""Tests of searches and readings that fail while the rest goes on."""

import asyncio
import json
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAuthenticationError,
    ModelRateLimitError,
    OutputParserException,
)
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableLambda
from langgraph.errors import GraphInterrupt

from langchain_divconq.errors import ConfigurationError, GenerationCancelled
from langchain_divconq.retrieval import Reading
from langchain_divconq.types import Decomposition, Question
from tests.unit_tests.fakes import ScriptedModel, Tree, failing, scripted
from tests.unit_tests.long_bridge import FILLED, PLAN, QUESTION, SHELF
from tests.unit_tests.shelf import Shelf, asked, both, build, reader, reading, searched, shelf, texts


class Overflow(ContextOverflowError):
    """A provider's own."""


class ServerError(Exception):
    """Of a database's client: no class of LangChain's."""


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_divconq.retrieval.walk._WAIT", {"max": 0.0})


def partial(documents: list[Document]) -> set[tuple[str, ...]]:
    """What the documents say of failures, each the same."""
    return {tuple(document.metadata["divconq"].get("partial", ())) for document in documents}


@both
@pytest.mark.parametrize("decomposer", [scripted("Well."), failing(Overflow("too long\nby far"))])
def test_trouble_with_the_decomposer_searches_for_the_whole_question_and_says_so(
    decomposer: ScriptedModel, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = searched(build(decomposer=decomposer), QUESTION, asynchronous)
    assert texts(found) == SHELF[QUESTION]
    assert "The question stays whole, since the decomposer failed: " in caplog.text
    assert "by far" not in caplog.text
    with pytest.raises((OutputParserException, Overflow)):
        searched(build(decomposer=decomposer, on_trouble="raise"), QUESTION, asynchronous)


@both
@pytest.mark.parametrize("error", [TimeoutError(), ServerError("500"), ModelRateLimitError("429: slow down")])
@pytest.mark.parametrize("lost", [PLAN[0], FILLED, QUESTION])
def test_a_search_that_fails_twice_loses_nothing_else(
    lost: str, error: Exception, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Shelf(error=error, failing={lost: 2})
    tree = Tree()
    found = searched(build(retriever=broken), QUESTION, asynchronous, {"callbacks": [tree]})
    assert broken.seen.count(lost) == 2
    kept = {text for query in (*PLAN[:2], QUESTION) if query != lost for text in SHELF[query]}
    assert kept <= set(texts(found))
    [[trouble]] = partial(found)
    assert trouble.startswith(f"the search for {lost!r} failed: ")
    assert f"The result is partial: {trouble}" in caplog.text
    assert tree.root.error is None
    assert [run.inputs["input"] for run in tree.root.child_runs if run.error] == [lost]
    with pytest.raises(type(error)):
        searched(build(retriever=Shelf(error=error, failing={lost: 2}), on_trouble="raise"), QUESTION, asynchronous)


@both
def test_a_search_that_fails_once_is_made_again(asynchronous: bool) -> None:
    shaky = Shelf(error=TimeoutError(), failing=dict.fromkeys([*PLAN, FILLED, QUESTION], 1))
    found = searched(build(retriever=shaky), QUESTION, asynchronous)
    assert found == build().invoke(QUESTION)
    assert partial(found) == {()}


@both
@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        *((TimeoutError("slow"), 2), (ServerError("500"), 2), (IndexError("list index out of range"), 2)),
        (Overflow("too long"), 1),
    ],
)
def test_a_reading_that_fails_twice_or_for_good_loses_its_answer_alone(
    error: Exception, attempts: int, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def read_one(messages: list[BaseMessage]) -> str:
        if asked(messages) == PLAN[0]:
            raise error
        return reading(messages)

    retriever = build(reader=scripted(read_one))
    found = searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).seen[3:] == ["Who was mayor of the town that has the long bridge in 1931?"]
    [[trouble]] = partial(found)
    assert trouble.startswith(f"no answer to {PLAN[0]!r} could be read: ")
    assert trouble in caplog.text
    assert [*map(asked, reader(retriever).seen)].count(PLAN[0]) == attempts
    with pytest.raises(type(error)):
        searched(build(reader=scripted(read_one), on_trouble="raise"), QUESTION, asynchronous)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("part", ["reader", "decomposer", "retriever"])
def test_a_part_that_cancels_itself_is_a_part_that_fails(part: str, asynchronous: bool) -> None:
    def cancel(_: object) -> Any:
        raise asyncio.CancelledError

    parts: dict[str, Any] = {"reader": cancel, "decomposer": scripted(cancel), "retriever": RunnableLambda(cancel)}
    retriever = build(**{part: parts[part]})
    if part == "retriever":
        with pytest.raises(GenerationCancelled, match="The model cancelled its own call"):
            searched(retriever, QUESTION, asynchronous)
        return
    found = searched(retriever, QUESTION, asynchronous)
    assert SHELF[QUESTION][0] in texts(found)
    assert ("cancelled its own call" in str(partial(found))) == (part == "reader")


@both
def test_halves_of_surrogate_pairs_in_plans_and_answers_are_put_together_or_replaced(asynchronous: bool) -> None:
    plan = Decomposition(question=Question(text=QUESTION), subquestions=("Which \ud83d town?", "Who led #1?"))
    retriever = build(
        decomposer=RunnableLambda(lambda _: plan),
        reader=lambda _: ["Lund \ud83d", "Ystad \ud83d\ude00"],
        retriever=Shelf(otherwise=["A town."]),
    )
    found = searched(retriever, QUESTION, asynchronous)
    assert set(shelf(retriever).seen) == {
        *(QUESTION, "Which \ufffd town?", "Who led Lund \ufffd?", "Who led Ystad \U0001f600?")
    }
    json.dumps([document.metadata for document in found], ensure_ascii=False).encode()


@both
@pytest.mark.parametrize("reply", ["", "I'm sorry, I can't help with that.", "Answer:"])
def test_an_empty_or_refused_reply_is_no_answer_and_no_failure(reply: str, asynchronous: bool) -> None:
    found = searched(build(reader=scripted(reply)), QUESTION, asynchronous)
    assert partial(found) == {()}
    assert {document.metadata["divconq"]["answer"] for document in found} == {None}


@both
@pytest.mark.parametrize("broken", ["decomposer", "reader"])
def test_a_broken_set_up_of_a_model_is_raised(broken: str, asynchronous: bool) -> None:
    tree = Tree()
    part: dict[str, Any] = {broken: failing(ModelAuthenticationError("no key"))}
    with pytest.raises(ModelAuthenticationError, match="no key"):
        searched(build(**part), QUESTION, asynchronous, {"callbacks": [tree]})
    assert "no key" in (tree.root.error or "")


@both
def test_searches_that_all_fail_raise_the_first_error(asynchronous: bool) -> None:
    with pytest.raises(PermissionError, match="no key"):
        searched(build(retriever=Shelf(error=PermissionError("no key"))), QUESTION, asynchronous)
    with pytest.raises(PermissionError, match="no key"):
        searched(
            build(["Who?"], gate="never", retriever=Shelf(error=PermissionError("no key"))), QUESTION, asynchronous
        )


@both
def test_a_graphs_interrupt_in_a_reader_reaches_the_graph_at_once(asynchronous: bool) -> None:
    asked_for: list[str] = []

    def interrupt(given: Reading) -> str:
        asked_for.append(given["subquestion"])
        raise GraphInterrupt

    with pytest.raises(GraphInterrupt):
        searched(build([PLAN[0], "Who was mayor of #1?"], reader=interrupt), QUESTION, asynchronous)
    assert asked_for == [PLAN[0]], "no second attempt"


def test_a_search_that_another_attempt_cannot_mend_is_made_once() -> None:
    broken = Shelf(error=Overflow("too long"), failing={PLAN[0]: 2})
    build(retriever=broken).invoke(QUESTION)
    assert broken.seen.count(PLAN[0]) == 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"decomposer": RunnableLambda(lambda _: "1. Who?")}, "decomposer must return a Decomposition, got str"),
        ({"retriever": RunnableLambda(lambda _: "a text")}, "retriever must return a list of documents, got str"),
        ({"retriever": RunnableLambda(lambda _: ["a text"])}, "retriever must return a list of documents, got list"),
    ],
)
def test_a_part_that_returns_something_else_is_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(**part).invoke(QUESTION)
