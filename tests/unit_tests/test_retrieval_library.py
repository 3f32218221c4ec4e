"""The library of the examples: what both retrievers find in it."""

from tests.library import LIBRARY, QUESTIONS
from tests.outputs.shown import by_hand


def test_every_plan_of_the_library_is_written_for_passages_that_are_there() -> None:
    passages = {path.stem: " ".join(path.read_text(encoding="utf-8").split()) for path in LIBRARY.glob("*.txt")}
    for question in QUESTIONS:
        assert len(question.answers) == len(question.subquestions) <= 3
        assert len(set(question.passages)) == max(1, len(question.subquestions))
        for answer, name in zip(question.answers, question.passages, strict=False):
            assert answer in passages[name]
            assert answer not in question.question


def test_hop_by_hop_all_passages_are_found_where_the_plain_retriever_misses_some() -> None:
    for asked, plainly, handed in by_hand():
        needed = len(asked.passages)
        assert handed == needed, asked.question
        assert (plainly < needed) == (needed > 1), asked.question
