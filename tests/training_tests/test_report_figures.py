"""Figures over records: paired, gated, and written with their intervals."""

from collections.abc import Mapping
from typing import Any

from tests.training_tests.results import answer
from training.measure.intervals import Interval
from training.measure.records import AnswerRecord
from training.measure.report.figures import failures, gate, gate_thresholds, paired_difference, pareto, retained, strict
from training.measure.report.markdown import fixed, percent
from training.measure.report.read import AnswerArm


def arm(rights: Mapping[int, bool], **changes: Any) -> AnswerArm:
    records = tuple(AnswerRecord.model_validate(answer(n, right, **changes)) for n, right in sorted(rights.items()))
    return AnswerArm(
        "an arm", "gsm8k", "shipped", "shipped", 1.0, "small", "openai:small", "fused", 9, None, None, None, records
    )


def test_a_paired_difference_is_over_the_questions_that_both_have() -> None:
    ours, theirs = arm({1: True, 2: True, 3: False}), arm({2: False, 3: False, 4: True, 5: True})
    found = paired_difference(ours, theirs, strict)
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)
    assert paired_difference(ours, arm({9: True}), strict) is None


def test_a_share_is_over_the_questions_that_both_have_and_none_of_nothing() -> None:
    found = retained(arm({1: True, 2: False, 3: True}), arm({1: True, 2: True, 9: True}), strict)
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)
    assert retained(arm({1: True}), arm({1: False}), strict) is None


def test_a_gate_sends_to_the_single_stage_what_reaches_its_threshold() -> None:
    dividing = arm({1: True, 2: True}, no_decomposition_probability=0.6, subquestions=2)
    single = arm({1: False, 2: True, 3: True})
    at, above, never = gate(dividing, single, [0.6, 0.7, None])
    assert (at.coverage, at.risk, at.risk_of_divided) == (0.0, 0.5, None)
    assert (above.coverage, above.risk, above.risk_of_divided) == (1.0, 0.0, 0.0)
    assert (never.coverage, never.strict) == (1.0, (1.0, 1.0))
    assert gate(dividing, arm({}), [0.5]) == []
    # No probability: it was divided.
    assert gate(arm({1: True}, subquestions=2), single, [0.0])[0].coverage == 1.0
    # A plan that came to nothing, whatever its probability was.
    assert gate(arm({1: True}, no_decomposition_probability=0.1), single, [0.5])[0].coverage == 0.0
    assert gate_thresholds(dividing, [0.2, 0.9]) == [0.2, 0.9, None]


def test_the_front_holds_what_nothing_beats_in_cost_and_score() -> None:
    arms = [("dear", 3.0, 0.9), ("cheap", 1.0, 0.5), ("beaten", 2.0, 0.5), ("equal", 1.0, 0.4), ("middle", 2.0, 0.7)]
    assert pareto(arms) == ["cheap", "middle", "dear"]
    assert pareto([]) == []


def test_replies_without_judgement_are_failures() -> None:
    found = arm({1: False, 2: False}, why="error: KeyError", no_plan="timeout").records
    assert failures(found) == {"error: KeyError": 2, "no plan: timeout": 2}


def test_figures_are_written_with_their_intervals_and_without_a_minus_zero() -> None:
    assert percent(Interval(0.5, 0.25, 0.75, 4)) == "50.0 [25.0, 75.0]"
    assert percent(Interval(-0.00001, -0.1, 0.1, 4), signed=True) == "+0.0 [-10.0, +10.0]"
    assert percent(None) == "\u2013"
    assert fixed(None, 2) == "\u2013"
