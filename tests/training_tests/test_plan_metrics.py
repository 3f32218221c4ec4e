"""Tests of the metrics of plans, on plans with known faults and on any plan."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measure.plan_metrics import METRICS, PlanVerdict, agreement, copies, judge, repeats

QUESTION = "Mia has 3 boxes of 12 pens. How many pens are left when she gives away 7?"
PLAN = ("How many pens are in 3 boxes of 12?", "How many of #1 pens are left after 7 are gone?")

words = st.sampled_from(["who", "pens", "boxes", "bridge", "#1", "the", "7"])
plans = st.lists(st.lists(words, min_size=1, max_size=5).map(lambda text: " ".join(text) + "?"), min_size=1, max_size=4)


def verdict(**values: object) -> PlanVerdict:
    return PlanVerdict.model_validate({"id": "q", "source": "s", "parses": True, **values})


def metric(name: str, *verdicts: PlanVerdict) -> float | None:
    shares = [METRICS[name].share(one) for one in verdicts]
    below = sum(share[1] for share in shares)
    return sum(share[0] for share in shares) / below if below else None


def test_a_sound_plan_neither_repeats_nor_copies() -> None:
    assert not repeats(PLAN)
    assert not copies(PLAN, QUESTION)


@pytest.mark.parametrize(
    "plan",
    [
        ("How many pens are there?", "how many pens are there"),
        ("Who was the first mayor of the town?", "Who was first mayor of that town?"),
        ("Who is #1?", "Who was born then?", "Who is #1?"),
    ],
)
def test_the_same_words_or_the_same_content_words_are_a_repeat(plan: tuple[str, ...]) -> None:
    assert repeats(plan)


@pytest.mark.parametrize(
    "plan",
    [
        ("When was Ada born?", "Where was Ada born?"),
        ("How many pens are in 3 boxes?", "How many pens are in 4 boxes?"),
        ("Who is the father of #1?", "Who is the father of #2?"),
    ],
)
def test_a_question_word_a_number_or_a_reference_makes_a_difference(plan: tuple[str, ...]) -> None:
    assert not repeats(plan)


@pytest.mark.parametrize(
    "copy", [QUESTION, "How many pens are left when she gives away 7?", "How many pens left, when gives away 7?"]
)
def test_the_question_or_its_last_sentence_said_again_is_a_copy(copy: str) -> None:
    assert copies((PLAN[0], copy), QUESTION)


def test_part_of_the_question_is_no_copy() -> None:
    assert not copies(("Who directed Vertigo?",), "Who is the spouse of the person who directed Vertigo?")


def test_a_verdict_counts_references_by_their_numbers() -> None:
    judged = judge(QUESTION, PLAN, PLAN, ("How many pens?", "How many of #1?", "Is #1 more than #2?"))
    agreed = judged.pop("agreement")
    assert isinstance(agreed, float)
    assert 0 < agreed < 1
    counts = {"written": 2, "kept": 2, "edges": 1, "reference": 3, "reference_edges": 3, "shared_edges": 1}
    assert judged == {"repeats": False, "copies": False, **counts}


def test_without_a_reference_plan_nothing_is_said_of_it() -> None:
    judged = judge(QUESTION, PLAN, PLAN, None)
    assert judged["reference"] is judged["agreement"] is None
    one_step = judge(QUESTION, PLAN, PLAN, ())
    assert (one_step["reference"], one_step["agreement"]) == (0, None)


def test_agreement_takes_the_best_matching_not_the_order() -> None:
    assert agreement(tuple(reversed(PLAN)), PLAN) == 1
    # The likest pair (4/5) would leave the other two with nothing in common; across, they have 2/3 and 1/2.
    found = agreement(("Who? When?", "Who?"), ("Who? When? Where?", "When?"))
    assert found == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_what_has_no_counterpart_counts_as_nothing() -> None:
    assert agreement(PLAN[:1], PLAN) == 0.5
    assert agreement((), PLAN) == 0
    assert agreement(PLAN, ("Which river?", "Which bridge?")) == 0


@given(plans, plans)
def test_agreement_is_the_best_of_all_matchings(plan: list[str], reference: list[str]) -> None:
    few, many = sorted((plan, reference), key=len)
    best = max(
        sum(agreement([one], [other]) for one, other in zip(few, order, strict=True))
        for order in permutations(many, len(few))
    )
    assert agreement(plan, reference) == pytest.approx(best / len(many))
    assert agreement(plan, reference) == pytest.approx(agreement(reference, plan))


@given(plans, st.integers(0, 3))
def test_saying_a_subquestion_again_is_always_a_repeat(plan: list[str], at: int) -> None:
    assert repeats([*plan, plan[at % len(plan)]])
    assert copies([*plan, "which bridge?"], "The which bridge?")


def test_one_step_questions_are_left_whole_rightly_and_others_wrongly() -> None:
    verdicts = [verdict(reference=0), verdict(reference=0, kept=2), verdict(reference=2), verdict(reference=3, kept=3)]
    assert metric("undivided_one_step", *verdicts, verdict(reference=None)) == 0.5
    assert metric("undivided_multi_step", *verdicts, verdict(reference=2, error="DecompositionError")) == pytest.approx(
        1 / 3
    )


def test_a_question_left_without_a_plan_by_an_error_counts_against_one_step_accuracy() -> None:
    assert metric("undivided_one_step", verdict(reference=0, error="ContextLengthError", parses=False)) == 0


def test_precision_and_recall_of_references() -> None:
    verdicts = [
        verdict(reference=2, edges=1, reference_edges=1, shared_edges=1),
        verdict(reference=3, edges=2, reference_edges=1),
        verdict(reference=3, edges=1, reference_edges=0),
        verdict(reference=2, edges=0, reference_edges=2),
        verdict(reference=0, edges=1),
        verdict(reference=None, edges=1),
    ]
    assert metric("uses_references_precision", *verdicts) == pytest.approx(2 / 3)
    assert metric("uses_references_recall", *verdicts) == pytest.approx(2 / 3)
    assert metric("edge_precision", *verdicts) == 1 / 4
    assert metric("edge_recall", *verdicts) == 1 / 4


def test_faults_and_lengths_are_of_plans_alone() -> None:
    sound, faulty = [verdict(written=0), verdict(written=2)], [verdict(written=3, repeats=True)]
    verdicts = [*sound, *faulty, verdict(written=1, copies=True)]
    assert metric("repeats_or_copies", *verdicts) == pytest.approx(2 / 3)
    assert metric("subquestions", *verdicts) == 2
    assert metric("parse_rate", *verdicts, verdict(parses=False)) == 0.8


def test_nothing_is_said_where_no_question_bears_on_it() -> None:
    silent = {name for name in METRICS if metric(name, verdict()) is None}
    assert silent == set(METRICS) - {"parse_rate"}
