"""Tests of readers and their replies."""

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.prompts import reading_prompt
from langchain_divconq.retrieval import DecomposedRetriever, Reading, parse_reading
from langchain_divconq.solver import Solver
from tests.unit_tests.fakes import failing, scripted
from tests.unit_tests.long_bridge import ANSWERS, FILLED, PLAN, QUESTION, SHELF
from tests.unit_tests.shelf import Shelf, build, reading, shelf, texts

MODEL = scripted(reading)


def look_up(given: Reading) -> str | None:
    return ANSWERS.get(given["subquestion"])


@pytest.mark.parametrize(
    "reader",
    [
        *(MODEL, MODEL.bind(stop=["\n"]), MODEL.with_retry(), MODEL | StrOutputParser()),
        failing(ValueError("down")).with_fallbacks([MODEL]),
        *(Solver(model=MODEL), look_up, RunnableLambda(look_up)),
        RunnableLambda(look_up) | (lambda answer: AIMessage(answer or "")),
        ChatPromptTemplate.from_template("{documents}\nQuestion: {subquestion}") | MODEL,
        ChatPromptTemplate.from_template("{documents}\nQuestion: {subquestion}") | MODEL | StrOutputParser(),
    ],
)
def test_whatever_can_answer_from_documents_is_a_reader(reader: Any) -> None:
    retriever = build(reader=reader)
    assert SHELF[FILLED][0] in texts(retriever.invoke(QUESTION))
    assert shelf(retriever).seen[3:] == [FILLED]


def test_a_plain_reader_is_given_the_filled_subquestion_and_the_documents_found_for_it() -> None:
    given: list[Reading] = []
    build([PLAN[0], "Who was mayor of #1?", "Whose son was #2?"], reader=given.append).invoke(QUESTION)
    assert [(one["subquestion"], texts(one["documents"])) for one in given] == [(PLAN[0], SHELF[PLAN[0]])]


def test_two_candidates_are_both_searched_for() -> None:
    retriever = build([PLAN[0], "Who was mayor of #1?"], reader=lambda _: ["Lund", " ", "Lund", "Ystad", "Malmö"])
    retriever.invoke(QUESTION)
    assert sorted(shelf(retriever).seen[2:]) == ["Who was mayor of Lund?", "Who was mayor of Ystad?"]


def test_a_readers_name_goes_through_init_chat_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def init_chat_model(name: str) -> Any:
        asked.append(name)
        return MODEL

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    assert build(reader="openai:gpt-5-mini").reader is MODEL
    assert asked == ["openai:gpt-5-mini"]
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(
        ValueError, match="is the name of a chat model and needs the package langchain, which cannot be imported"
    ):
        build(reader="openai:gpt-5-mini")


@pytest.mark.parametrize("output", [7, object(), [1]])
def test_a_reader_that_returns_something_else_is_named(output: object) -> None:
    with pytest.raises(ConfigurationError, match="reader must return text, a message, a list of texts or None, got"):
        build(reader=lambda _: output).invoke(QUESTION)


def test_a_solver_in_the_readers_place_is_told_what_to_pass() -> None:
    with pytest.raises(ValueError, match=r"takes no solver=\. What reads is its reader="):
        DecomposedRetriever(retriever=Shelf(), solver=MODEL)  # type: ignore[call-arg]  # what is tested


# What a reader says


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        *(("Answer: Ada Holm", "Ada Holm"), ("It says so.\nAnswer: **Ada Holm**.", "Ada Holm")),
        *(("Ada Holm", "Ada Holm"), ("Answer: Unknown Harbour", "Unknown Harbour"), ("Answer: Nonesuch", "Nonesuch")),
        ("Answer: Not Far From Here", "Not Far From Here"),
        *(("Answer: unknown", None), ("Answer: Unknown.", None), ("Answer: None", None), ("Answer: N/A", None)),
        ("Answer: not stated in the documents", None),
        *(("Answer: Not given.", None), ("I don't know.", None)),
        *(("I'm sorry, I can't help with that.", None), ("I am not able to answer this.", None)),
        *(("Answer: I cannot tell from these.", None), ("Answer: The documents do not mention it.", None)),
        ("Answer: These documents don\u2019t say", None),
        *(("", None), ("Answer:", None), ("The bridge is long. " * 20, None)),
    ],
)
def test_a_reading_gives_its_answer_or_none(reply: str, answer: str | None) -> None:
    assert parse_reading(reply) == answer


@given(st.text())
def test_any_text_can_be_a_reading(text: str) -> None:
    answer = parse_reading(text)
    assert answer is None or answer.strip()


def test_the_reading_prompt_says_what_to_write_where_nothing_is_found() -> None:
    [message] = reading_prompt("Who?", ["{a}", "b"])
    assert message.text.startswith("Documents:\n\n[1] {a}\n\n[2] b\n\nQuestion: Who?\n\n")
    sentinel = re.search(r"'(Answer: [^']+)'\.$", message.text)
    assert sentinel is not None
    assert parse_reading(sentinel[1]) is None
