from random import Random

import pytest

from langchain_divconq.confidence import FEATURES
from langchain_divconq.decomposer import Decomposer
from tests.training_tests.examples import example
from tests.unit_tests.fakes import PLAN, QUESTION, scripted
from training.example import Recorded
from training.gguf.calibrate import GradedPlan, cross_validated, describe, fit, graded_plans


def plans(count: int, chance: Random) -> list[GradedPlan]:
    """Plans that are good as often as they cover the question's words; the other features say nothing."""
    made = []
    for number in range(count):
        features = {name: chance.random() for name in FEATURES} | {"has_context": 0.0}
        made.append(GradedPlan(id=f"s/{number}", features=features, good=chance.random() < features["words_covered"]))
    return made


def test_what_tells_good_plans_from_bad_gets_the_weight_and_shares_are_met() -> None:
    known = plans(600, Random(1))
    calibration = fit(known)
    assert max(calibration.weights, key=lambda name: abs(calibration.weights[name])) == "words_covered"
    assert "has_context" not in calibration.weights  # it never varies
    expected = sum(calibration.confidence(plan.features) for plan in known)
    assert expected == pytest.approx(sum(plan.good for plan in known), abs=0.5)


def test_each_held_out_confidence_comes_from_the_other_folds() -> None:
    known = cross_validated(plans(300, Random(2)))
    assert all(plan.held_out is not None and 0 <= plan.held_out <= 1 for plan in known)
    assert describe(known).startswith("300 plans, ")
    sure = [plan.good for plan in known if (plan.held_out or 0) >= 0.8]
    assert sum(sure) / len(sure) > 0.7


def test_too_few_plans_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"9 plans, .* are too few to fit a confidence on"):
        fit(plans(9, Random(3)))


def test_plans_are_graded_with_their_features_and_whole_questions_left_out() -> None:
    recorded = Recorded(subquestions=tuple(line[3:] for line in PLAN.split("\n")))
    examples = [
        example("s/1", QUESTION, recorded=recorded),
        example("s/2", "hi", recorded=Recorded(subquestions=())),
    ]
    [graded] = graded_plans(examples, Decomposer(scripted(PLAN)), frozenset())
    assert (graded.id, graded.good) == ("s/1", True)
    assert graded.features["subquestions"] == 2
