"""The benchmarks' own arithmetic."""

import pytest

from langchain_divconq.excerpts import CONTEXT_BUDGET
from langchain_divconq.prompts import decomposition_prompt
from langchain_divconq.types import Question
from tests.benchmarks.contexts import whole_contexts
from tests.benchmarks.interval import middle, ratio
from tests.benchmarks.questions import questions


def test_a_ratio_lies_in_its_interval_and_the_interval_tightens_with_agreement() -> None:
    estimate, low, high = ratio([2.0, 4.0, 6.0, 9.0], [1.0, 2.0, 3.0, 3.0])
    assert estimate == pytest.approx(21 / 9)
    assert low < estimate < high
    assert ratio([2.0, 4.0], [1.0, 2.0]) == [2.0, 2.0, 2.0]


def test_a_median_comes_with_its_interval() -> None:
    estimate, low, high = middle([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (estimate, low >= 1.0, high <= 100.0) == (3.0, True, True)


def test_questions_are_varied_and_the_same_for_the_same_seed() -> None:
    assert questions(50, seed=1) == questions(50, seed=1) != questions(50, seed=2)
    assert len({question.text for question in questions(400, seed=3)}) > 250
    assert 0 < sum(question.context is not None for question in questions(100, seed=4)) < 50


def test_a_whole_context_is_shown_where_seconds_are_compared_and_only_there() -> None:
    question = Question(text="When did it burn?", context="It burnt in May. " * CONTEXT_BUDGET)
    with whole_contexts():
        assert str(question.context) in decomposition_prompt(question, 3, "student")[-1].text
    assert len(decomposition_prompt(question, 3, "student")[-1].text) < 2 * CONTEXT_BUDGET
