"""Whatever is recorded, a student's plan is clean, capped, and one the decomposer's grammar allows."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_divconq.grammar import MAX_LENGTH
from langchain_divconq.plans import parse_plan, render_plan
from langchain_divconq.types import references
from tests.training_tests import examples
from tests.unit_tests.test_grammar import accepts
from training.data import plans
from training.data.plans import (
    LongPlans,
    Unusable,
    cap_plan,
    is_near_copy,
    is_question,
    is_well_formed,
    keep_subquestions,
    normalise_plan,
    normalise_subquestion,
    recorded_plan,
)
from training.example import Example, Recorded

QUESTION = "Rosa bakes 4 trays of 15 rolls and sells 38 of them. How many rolls are left?"
PIECES = st.sampled_from(
    [
        *(
            "How many",
            "what is",
            "rolls",
            "Rosa",
            "#1",
            "#2",
            "#3",
            "#12",
            "#",
            "?",
            " ?",
            "'s",
            "Given #1,",
            "left",
            "are",
        ),
        *("Given #1 and #2,", "the", ".", "*", "\n", "\u00a0", "é", "42", "1.", "x" * 70, "No decomposition needed."),
    ]
)
SUBQUESTIONS = st.one_of(st.lists(PIECES, max_size=8).map(" ".join), st.text(max_size=40))


def recorded(*subquestions: str, question: str = QUESTION) -> Example:
    return examples.example(question=question, recorded=Recorded(subquestions=subquestions))


def reason(*subquestions: str, cap: int = 3, long_plans: LongPlans = "last") -> str:
    with pytest.raises(Unusable) as caught:
        recorded_plan(recorded(*subquestions), cap, long_plans)
    return caught.value.reason


@given(
    subquestions=st.lists(SUBQUESTIONS, max_size=7),
    cap=st.integers(1, 9),
    long_plans=st.sampled_from(["drop", "first", "last"]),
)
def test_whatever_is_recorded_the_plan_is_in_the_grammars_language_or_there_is_none(
    subquestions: list[str], cap: int, long_plans: LongPlans
) -> None:
    try:
        plan = recorded_plan(recorded(*subquestions), cap, long_plans)
    except Unusable as unusable:
        assert unusable.reason  # noqa: PT017 - either outcome is right
        return
    text = render_plan(plan)
    assert len(plan) <= cap
    assert parse_plan(text) == plan
    assert accepts(text, cap)
    assert all(reference < number for number, line in enumerate(plan, start=1) for reference in references(line))


@given(subquestions=st.lists(SUBQUESTIONS, min_size=1, max_size=4))
def test_a_plan_is_well_formed_exactly_if_the_grammar_accepts_it_and_the_parser_returns_it(
    subquestions: list[str],
) -> None:
    plan = normalise_plan(subquestions)
    if is_well_formed(plan):
        assert accepts(render_plan(plan), 9)
    elif accepts(render_plan(plan), 9):
        assert parse_plan(render_plan(plan)) != plan


@given(SUBQUESTIONS)
@example("When was  #1 's  bridge built ?")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_subquestion(text)
    assert normalise_subquestion(once) == once


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("who  is #1 's mother ?", "Who is #1's mother?"),
        ("when was #2 founded", "When was #2 founded?"),
        ("What is the capital of #1 ??", "What is the capital of #1?"),
        ("#1 was born where ?", "#1 was born where?"),
        ("what is the king 's name .", "What is the king's name?"),
        ("who sang ``Lark'' first", 'Who sang "Lark" first?'),
        ("Who wrote it\n in 1904?", "Who wrote it in 1904?"),
    ],
)
def test_a_subquestion_has_one_form(text: str, normal: str) -> None:
    assert normalise_subquestion(text) == normal


@given(st.data(), st.integers(1, 5), st.sampled_from(["drop", "first", "last"]))
def test_a_capped_plan_keeps_to_the_cap_and_refers_back(data: st.DataObject, cap: int, long_plans: LongPlans) -> None:
    forms = ["How many?", "Who built #1?", "Given #1, how many?", "Given #1 and #2, how many?", "Where was #2 born?"]
    plan: list[str] = []
    for length in range(data.draw(st.integers(0, 6))):
        plan.append(data.draw(st.sampled_from([form for form in forms if max(references(form), default=0) <= length])))
    capped = cap_plan(plan, cap, long_plans)
    if len(plan) <= cap:
        assert capped == tuple(plan)
    elif capped is not None:
        assert len(capped) == cap
        assert all(number <= at for at, text in enumerate(capped) for number in references(text))


def test_the_last_subquestions_lose_what_they_were_given_by_those_before() -> None:
    plan = [
        "How many trays?",
        "How many rolls?",
        "Given #1 and #2, how many in all?",
        "Given #1, how many trays remain?",
    ]
    assert cap_plan(plan, 2, "last") == ("How many in all?", "How many trays remain?")
    assert cap_plan(plan, 3, "last") == ("How many rolls?", "Given #1, how many in all?", "How many trays remain?")
    assert cap_plan(plan, 3, "first") == tuple(plan[:3])
    assert cap_plan(plan, 3, "drop") is None


def test_a_subquestion_that_makes_no_sense_without_one_that_went_ends_the_plan() -> None:
    assert cap_plan(["Who built it?", "When did #1 die?"], 1, "last") is None
    assert keep_subquestions(["Who built it?", "When did #1 die?"], [1]) is None
    assert (
        reason("Who built the mill?", "Where was #1 born?", "Who ruled #2?", "When did #3 die?")
        == "longer than the cap"
    )


def test_repeats_and_restatements_go_and_references_follow() -> None:
    plan = recorded_plan(
        recorded(
            "How many rolls does Rosa bake?",
            "how many rolls does Rosa bake",
            "How many rolls are left over?",
            "Given #2, what share does she sell?",
            "How many of the rolls are left?",
        ),
        3,
        "last",
    )
    assert plan == (
        "How many rolls does Rosa bake?",
        "How many rolls are left over?",
        "Given #1, what share does she sell?",
    )


def test_what_is_asked_again_given_an_earlier_answer_is_asked_once() -> None:
    again = ("How many rolls are baked?", "Given #1, how many rolls are baked?", "Given #2, how many bags are filled?")
    assert recorded_plan(recorded(*again), 3, "first") == (again[0], "Given #1, how many bags are filled?")
    copied = ("How many rolls does Rosa bake?", "Given #1, how many of the rolls are left?")
    assert recorded_plan(recorded(*copied), 3, "first") == copied[:1]


def test_a_near_copy_of_the_last_sentence_goes_and_a_part_of_it_stays() -> None:
    assert is_near_copy("How many of the rolls are left?", QUESTION)
    assert not is_near_copy("How many rolls are there?", QUESTION)
    assert not is_near_copy("How many rolls did Rosa sell in May?", "How many rolls did Rosa sell in April and May?")


def test_no_recorded_subquestion_means_that_no_decomposition_is_needed() -> None:
    assert recorded_plan(recorded(), 3, "drop") == ()


def test_what_cannot_be_mended_is_left_out_for_a_stated_reason() -> None:
    assert reason("How many rolls are left?") == "only restates the question"
    assert reason("Set up an equation?", "How many rolls?") == "a subquestion asks nothing"
    assert reason("What is x in terms of y?") == "a subquestion asks nothing"
    assert reason("Who is #1?") == "reference to no earlier subquestion"
    assert reason("Who? Which of the rolls?") == "not in the grammar's language"
    assert reason("What is the " + "long " * MAX_LENGTH + "name?") == "not in the grammar's language"
    assert reason("How many rolls are left?", "Why are they #1?") == "only restates the question"
    assert reason("How many of the rolls are left?", "Why are they #1?") == "rests on a restatement of the question"
    assert reason("Who?", "What?", "Where?", "When?", long_plans="drop") == "longer than the cap"
    with pytest.raises(Unusable, match="nothing recorded"):
        recorded_plan(examples.example(question=QUESTION), 3, "last")


def test_a_name_keeps_its_capital_inside_a_sentence() -> None:
    assert plans.given([1], "How many are left?") == "Given #1, how many are left?"
    assert plans.given([2, 1], "Rosa pays how much?") == "Given #1 and #2, Rosa pays how much?"
    assert plans.given([1, 2, 3], "What's left?") == "Given #1, #2 and #3, what's left?"
    assert plans.given([], "How many are left?") == "How many are left?"


def test_a_question_asks_something() -> None:
    assert is_question("#1 was born where?")
    assert is_question("Given #1, is Rosa older?")
    assert not is_question("Define a variable?")
