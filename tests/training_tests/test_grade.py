"""Tests of the grader: good and bad plans, told by their words."""

import pytest

from tests.training_tests.examples import needs_data
from training.config import DATA, Source
from training.data.sources import read_source
from training.data.sources.rows import read_file
from training.example import Example, Recorded
from training.measure.grade import Grade, asking_words, grade, invented_words, words

QUESTION = "In which city was the founder of the Voss Mill born, and when was the mill sold?"
GOLD = ("Who is the founder of the Voss Mill?", "In which city was #1 born?", "When was the Voss Mill sold?")
ASKING = frozenset(words("where who buy year name"))


def example(gold: tuple[str, ...] = GOLD, question: str = QUESTION) -> Example:
    return Example(
        id="everyday/t-1", source="everyday", split="dev", question=question, recorded=Recorded(subquestions=gold)
    )


def graded(*plan: str, gold: tuple[str, ...] = GOLD, language: str = "en") -> Grade:
    return grade(example(gold), plan, kind="chain", language=language, asking=ASKING)


def test_the_gold_plan_is_good() -> None:
    assert graded(*GOLD).good


@pytest.mark.parametrize(
    "plan",
    [
        ("Who founded the Voss Mill?", "Where was #1 born?", "When was the Voss Mill sold?"),
        ("When was the mill sold?", "Who founded the Voss Mill?", "In what city was #2 born?"),
        (
            "Who founded the Voss Mill?",
            "When was #1 born?",
            "In which city was #1 born?",
            "When was the Voss Mill sold?",
        ),
    ],
)
def test_other_words_another_order_and_one_subquestion_more_are_good(plan: tuple[str, ...]) -> None:
    assert graded(*plan).good


def test_a_missing_subquestion_is_no_good_plan() -> None:
    found = graded(*GOLD[:2])
    assert (found.met, found.good) == (2, False)


def test_a_reference_that_is_missing_or_points_elsewhere_is_no_good_plan() -> None:
    assert not graded(GOLD[0], "In which city was the founder born?", GOLD[2]).good
    assert not graded(GOLD[0], GOLD[2], "In which city was #2 born?").good


def test_a_name_a_number_or_a_word_from_nowhere_is_invented() -> None:
    assert graded(GOLD[0], "In which city was #1 born?", "When was the Voss Mill sold to Per Lund?").invented
    assert graded(GOLD[0], "In which city was #1 born?", "When was the Voss Mill sold in 1802?").invented
    assert graded(GOLD[0], "In which city was #1 born?", "When was the Voss Mill painted?").invented
    assert invented_words(example(), GOLD, ASKING) == set()


def test_a_question_that_should_stay_whole_is_harmed_by_any_plan() -> None:
    found = graded(*GOLD, gold=())
    assert (found.good, found.harmful) == (False, True)
    assert graded(gold=()).good


def test_a_question_that_should_be_divided_is_not_good_whole_but_unharmed() -> None:
    found = graded()
    assert (found.good, found.harmful) == (False, False)


def test_in_another_language_a_question_may_stay_whole() -> None:
    assert graded(language="de").good


def test_two_subquestions_more_than_the_gold_plan_are_too_many() -> None:
    more = ("When was the founder of the Voss Mill born?", "Who was the mill sold by?")
    assert not graded(*GOLD, *more).good


def test_words_count_without_their_endings() -> None:
    assert words("the river flowing through it") == words("Which rivers flow through #2?") == {"riv", "flow", "throu"}
    assert words("who wrote it") == words("its author")


def test_the_words_of_asking_are_those_that_demonstrations_bring_in() -> None:
    told = [example(("Who sold the Voss Mill?", "Where does #1 live?"))]
    ours = asking_words(())
    assert "great" in ours
    assert asking_words(told) - ours == {"liv"}


@needs_data
def test_every_gold_plan_of_the_evaluation_set_is_good() -> None:
    asking = asking_words(read_source(Source(name="everyday")))
    languages = {row["id"]: row["language"] for row in read_file(DATA / "everyday" / "dev.jsonl")}
    for one in read_source(Source(name="everyday", split="dev")):
        assert one.recorded is not None
        name = one.id.rpartition("/")[2]
        found = grade(one, one.recorded.subquestions, kind="", language=languages[name], asking=asking)
        assert found.good, (name, found)
