"""The library of the examples: what both retrievers find in it."""

import re

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_divconq.retrieval import DecomposedRetriever
from tests.library import LIBRARY, QUESTIONS, divide, names, plain, read
from tests.repository import ROOT
from tests.unit_tests.fakes import scripted


def test_every_plan_of_the_library_is_written_for_passages_that_are_there() -> None:
    passages = {path.stem: " ".join(path.read_text(encoding="utf-8").split()) for path in LIBRARY.glob("*.txt")}
    for question in QUESTIONS:
        assert len(question.answers) == len(question.subquestions) <= 3
        assert len(set(question.passages)) == max(1, len(question.subquestions))
        for answer, name in zip(question.answers, question.passages, strict=False):
            assert answer in passages[name]
            assert answer not in question.question


def compared(k: int) -> list[tuple[str, int, int, int]]:
    """Question, passages it needs, and how many of them the plain retriever and ours find within the same budget."""
    retriever = DecomposedRetriever(
        retriever=plain(k), reader=scripted(read), decomposer=RunnableLambda(divide), k=k, on_trouble="raise"
    )
    rows = []
    for question in QUESTIONS:
        needed = set(question.passages)
        before, after = plain(k).invoke(question.question), retriever.invoke(question.question)
        assert max(len(before), len(after)) <= k
        found = [len(needed & set(names(documents))) for documents in (before, after)]
        rows.append((question.question, len(needed), found[0], found[1]))
    return rows


@pytest.mark.parametrize("k", [4, 5])
def test_hop_by_hop_all_passages_are_found_where_the_plain_retriever_misses_some(k: int) -> None:
    for question, needed, before, after in compared(k):
        assert after == needed, question
        assert (before < needed) == (needed > 1), question


def test_the_readme_shows_what_both_find() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [
        f"| {question} | {before} of {needed} | {after} of {needed} |"
        for question, needed, before, after in compared(4)
    ]
    match = re.search(r"<!-- retrieval -->\n.*?\| ---.*?\|\n(.*?)<!-- /retrieval -->", readme, re.DOTALL)
    assert match is not None, "README.md has no retrieval table."
    assert match[1].strip().splitlines() == rows
