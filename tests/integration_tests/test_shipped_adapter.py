"""The adapter that ships, on the default weights, as users get it."""

from pathlib import Path

import pytest

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.weights import default_adapter
from langchain_divconq.types import references


@pytest.fixture
def adapter() -> Path:
    path = default_adapter()
    assert path is not None
    return path


@pytest.fixture
def decomposer(adapter: Path, engine_name: EngineName) -> Decomposer:
    return Decomposer(model=ChatGGUF(adapter_path=adapter, engine=engine_name))


def test_the_chain_divides_with_it_unless_told_otherwise(adapter: Path) -> None:
    chain = DivideAndConquer(solver=ChatGGUF())
    assert isinstance(chain.decomposer, Decomposer)
    assert isinstance(chain.decomposer.model, ChatGGUF)
    assert chain.decomposer.model.adapter_path == adapter


def test_a_hop_that_needs_an_earlier_answer_refers_to_it(decomposer: Decomposer) -> None:
    plan = decomposer.invoke("In which country was the director of the film Winter Harbour born?").subquestions
    assert len(plan) == 2
    assert [references(subquestion) for subquestion in plan] == [(), (1,)]


def test_a_question_of_one_step_is_left_whole(decomposer: Decomposer) -> None:
    assert decomposer.invoke("Who directed the film Winter Harbour?").subquestions == ()


def test_a_question_of_two_parts_is_divided_into_them(decomposer: Decomposer) -> None:
    question = "When was the river dam built and how much did it cost?"
    plan = decomposer.invoke(question).subquestions
    assert plan == ("When was the river dam built?", "How much did the river dam cost?")


@pytest.mark.parametrize(
    "turn",
    [
        *("hi", "thanks, that helped!", "42", "yes, do it", "Write a poem about the sea.", "Who wrote Middlemarch?"),
        *("Wer gründete die Firma, die den Kompass herstellt?", "Delete all files older than 30 days in the cache."),
    ],
)
def test_what_holds_no_two_facts_in_english_is_left_whole(decomposer: Decomposer, turn: str) -> None:
    assert decomposer.invoke(turn).subquestions == ()


def test_a_plan_comes_with_a_confidence(decomposer: Decomposer) -> None:
    sure = decomposer.invoke("Who is the spouse of the CEO of the company that makes the iPhone?")
    assert len(sure.subquestions) == 3
    assert sure.confidence is not None
    assert sure.confidence > 0.7
