"""Tests of `divconq evaluate`: ranks, intervals, the gate, and a small BM25."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.retrieval.bm25 import BM25
from langchain_divconq.retrieval.evaluation import Asked, Outcome, Way, evaluator, interval, recommend
from langchain_divconq.types import Question
from tests.library import QUESTIONS, divide, documents, read
from tests.unit_tests.fakes import scripted


def outcome(probability: float | None, whole: bool, turns: bool, *, is_divided: bool = True) -> Outcome:
    found: dict[Way, tuple[int | None, ...]] = {"whole": (1 if whole else None,), "turns": (1 if turns else None,)}
    known: dict[str, Any] = {"question": Question(text="Who?"), "no_decomposition_probability": probability}
    return Outcome(**known, subquestions=("Where?",) if is_divided else (), found={**found, "rrf": (None,)})


def test_ranks_and_costs_of_the_library_follow_from_one_search_of_each_question() -> None:
    named = [Document(one.page_content, id=one.metadata["name"]) for one in documents()]
    model = scripted(read)
    retriever = DecomposedRetriever(
        retriever=BM25(documents=named, k=5), reader=model, decomposer=RunnableLambda(divide), k=5
    )
    asked = [Asked(Question(text=one.question), tuple(one.passages)) for one in QUESTIONS]
    found = evaluator(retriever).batch(asked, {"max_concurrency": 2})
    assert [one.is_complete("turns", 5) for one in found] == [1.0] * len(QUESTIONS)
    assert sum(one.is_complete("whole", 5) for one in found) < len(QUESTIONS)
    assert [len(one.subquestions) for one in found] == [len(one.subquestions) for one in QUESTIONS]
    assert all((one.input_tokens > 0) == bool(one.subquestions) for one in found)
    assert len(model.seen) == sum(max(0, len(one.subquestions) - 1) for one in QUESTIONS)


@pytest.mark.parametrize("name", ["p1", "a.txt", "Title", "The  text\nof it."])
def test_a_passage_is_known_by_its_id_source_title_or_text(name: str) -> None:
    document = Document("The text of it.", id="p1", metadata={"source": "a.txt", "title": "Title"})
    retriever = DecomposedRetriever(retriever=RunnableLambda(lambda _: [Document("Other."), document]), gate="never")
    [found] = evaluator(retriever).batch([Asked(Question(text="Who?"), (name, "missing"))])
    assert found.found["whole"] == found.found["turns"] == (2, None)
    assert (found.recall("whole", 2), found.recall("whole", 1), found.is_complete("whole", 9)) == (0.5, 0, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=20)
def test_an_interval_holds_the_mean_and_is_always_the_same(values: list[float]) -> None:
    found = interval(values)
    assert found == interval(values)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.value == pytest.approx(sum(values) / len(values))


def test_the_gate_leaves_whole_what_a_plan_harms() -> None:
    helped = [outcome(0.1 + at / 100, whole=False, turns=True) for at in range(10)]
    harmed = [outcome(0.6 + at / 100, whole=True, turns=False) for at in range(10)]
    found = recommend([*harmed, *helped], "turns", 9)
    assert 0.19 < float(found.gate) <= 0.6
    assert (found.complete, found.divided) == (1.0, 0.5)
    assert 0.9 <= found.elsewhere <= 1, "a gate chosen by the others may miss the question next to it"
    assert recommend(helped, "turns", 9).gate == "always"
    assert recommend(harmed, "turns", 9)[:2] == ("never", 1.0)
    assert recommend([outcome(0.5, whole=True, turns=True)] * 3, "turns", 9).gate == "never", "of equals, the cheapest"


def test_what_a_decomposer_without_probabilities_divides_every_number_divides() -> None:
    found = recommend([outcome(None, whole=False, turns=True)] * 4, "turns", 9)
    assert (found.gate, found.divided) == ("always", 1.0)
    mixed = [outcome(None, whole=False, turns=True), outcome(0.4, whole=True, turns=False)]
    assert recommend(mixed, "turns", 9).gate == 0.4


PROBABILITIES = st.none() | st.sampled_from([0.1, 0.2, 0.5, 0.9])


@given(st.lists(st.builds(outcome, PROBABILITIES, st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_no_gate_finds_more_than_the_recommended_one(outcomes: list[Outcome]) -> None:
    found = recommend(outcomes, "turns", 9)

    def complete(gate: Any) -> float:
        divided = [
            gate == "always" or (gate != "never" and (p is None or p < gate))
            for p in (one.no_decomposition_probability for one in outcomes)
        ]
        ways = [one.is_complete("turns" if each else "whole", 9) for one, each in zip(outcomes, divided, strict=True)]
        return sum(ways) / len(ways)

    assert found.complete == pytest.approx(max(map(complete, ["always", "never", 0.1, 0.15, 0.2, 0.5, 0.9, 1.0])))
    assert found.complete == pytest.approx(complete(found.gate))


def test_bm25_finds_what_langchain_communitys_finds() -> None:
    ours = BM25(documents=documents(), k=1)
    theirs: Any = BM25Retriever.from_documents(
        documents(), preprocess_func=lambda text: re.findall(r"\w+", text.lower()), k=3
    )
    asked = [text for question in QUESTIONS for text in (question.question, *question.subquestions)]
    best = [ours.invoke(text)[0].page_content for text in asked]
    for one, text in zip(best, asked, strict=True):
        assert one in [found.page_content for found in theirs.invoke(text)], text
    assert ours.invoke("xylophone") == []


def test_bm25_counts_a_title_among_the_words_and_keeps_the_documents_order_among_equals() -> None:
    texts = [Document("a b"), Document("a b"), Document("c", metadata={"title": "Lund"})]
    assert BM25(documents=texts, k=2).invoke("A") == texts[:2]
    assert BM25(documents=texts).invoke("lund") == [texts[2]]
    with pytest.raises(ValueError, match="no documents to search"):
        BM25(documents=[])
