"""A training example that gives an evaluation example away is found, and named; others are left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training_tests import examples
from training.data.leaks import Leak, find_leaks
from training.example import Example, Recorded

MILL = "The old mill by the river Lenne grinds 340 kilograms of rye on each of the six days that it works in a week"


def example(name: str, question: str, *, source: str = "own", hops: tuple[str, ...] = (), **fields: Any) -> Example:
    return examples.example(f"{source}/{name}", question, recorded=Recorded(subquestions=hops), **fields)


def leaks(train: Example, evaluation: Example, ngram: int = 13) -> dict[str, Leak]:
    return find_leaks([train], [evaluation], ngram)


@pytest.mark.parametrize(
    "question", ["Who built the Lenne mill?", "who built the  LENNE mill", "Who built: the \u201cLenne\u201d mill?!"]
)
def test_questions_that_differ_in_form_alone_are_the_same(question: str) -> None:
    found = leaks(example("1", question), example("2", "Who built the Lenne mill?", split="dev"))
    assert found == {"own/1": Leak("own/2", "question")}


def test_a_question_is_the_same_however_it_is_divided_into_context_and_question() -> None:
    whole = example("2", "Rosa has 3 hens. How many legs have they?", split="test")
    assert leaks(example("1", "How many legs have they?", context="Rosa has 3 hens."), whole)
    assert not leaks(example("1", "How many legs have they?", context="Rosa has 4 hens."), whole)


def test_a_run_of_thirteen_words_is_a_leak_and_twelve_are_not() -> None:
    words = MILL.split()
    evaluation = example("2", MILL + ".", split="dev")
    assert leaks(example("1", " ".join(["Say:", *words[3:16], "indeed?"])), evaluation)
    assert not leaks(example("1", " ".join(["Say:", *words[3:15], "indeed?"])), evaluation)
    assert leaks(example("1", " ".join(["Say:", *words[3:15], "indeed?"])), evaluation, ngram=12)


def test_contexts_are_read_too() -> None:
    found = leaks(example("1", "How much?", context=MILL), example("2", "Who owns it?", context=MILL, split="dev"))
    assert found == {"own/1": Leak("own/2", "words")}


def test_a_short_text_counts_when_the_other_holds_all_of_it() -> None:
    short = " ".join(MILL.split()[2:10])
    assert leaks(example("1", short), example("2", MILL, split="dev"))
    assert leaks(example("1", MILL), example("2", short, split="dev"))
    seven = " ".join(MILL.split()[2:9])
    assert not leaks(example("1", seven), example("2", MILL, split="dev"))
    assert not leaks(example("1", MILL), example("2", seven, split="dev"))


def test_a_hop_that_is_an_evaluation_question_or_hop_is_a_leak() -> None:
    hops = ("Who built the Lenne mill?", "Where was #1 born?")
    train = example("1", "Where was the builder of the mill born?", source="musique", hops=hops)
    other = example("2", "When did its builder die?", source="musique", split="dev", hops=(hops[0], "When did #1 die?"))
    one_step = example("3", hops[0], source="musique_one_step")
    assert leaks(train, other) == {"musique/1": Leak("musique/2", "hop")}
    assert leaks(one_step, other) == {"musique_one_step/3": Leak("musique/2", "hop")}
    assert leaks(train, one_step.model_copy(update={"split": "dev"}))
    unrelated = example("2", "When?", source="musique", split="dev", hops=("Who burnt it?", "Where was #1 born?"))
    assert not leaks(train, unrelated)


def test_subquestions_that_mean_nothing_alone_are_no_hops() -> None:
    hops = ("How many are left?",)
    train = example("1", "Rosa has 5 rolls and sells 2.", source="gsm8k_socratic", hops=hops)
    assert not leaks(train, example("2", "Ann has 9 pears.", source="gsm8k_socratic", split="test", hops=hops))


def test_two_questions_about_one_drop_passage_are_a_leak() -> None:
    train = example("DROP_train_nfl_17_abc", "Who kicked?", source="drop_qdmr")
    evaluation = example("nfl_17_def", "How long was the run?", source="drop", split="dev")
    assert leaks(train, evaluation) == {train.id: Leak(evaluation.id, "passage")}
    assert not leaks(train, example("nfl_171_def", "How long was the run?", source="drop", split="dev"))


@given(st.lists(st.sampled_from(MILL.split()), min_size=1, max_size=30), st.integers(0, 10), st.integers(0, 10))
def test_a_text_is_found_inside_any_longer_one(words: list[str], before: int, after: int) -> None:
    inner = example("1", " ".join(words))
    around = " ".join([*["left"] * before, *words, *["right"] * after])
    expected = len(words) >= 8 or before + after == 0
    assert bool(leaks(inner, example("2", around, split="test"))) == expected
    assert bool(leaks(example("1", around), inner.model_copy(update={"split": "test"}))) == expected
