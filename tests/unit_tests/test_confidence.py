"""Tests of the confidence in a plan."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_divconq.confidence import FEATURES, Calibration, StudentCard, load_card, plan_features, token_logprobs
from langchain_divconq.errors import InvalidWeightsError
from langchain_divconq.types import Question

ASKED = Question(text="Who was mayor of Lund when the long bridge was opened?")
PLAN = ("When was the long bridge opened?", "Who was mayor of Lund in #1?")


def test_features_say_what_a_plan_covers_adds_and_refers_to() -> None:
    features = plan_features(ASKED, PLAN, 0.25, [-0.5, -0.1])
    assert features["none_probability"] == 0.25
    assert features["mean_logprob"] == pytest.approx(-0.3)
    assert features["lowest_logprob"] == -0.5
    assert (features["words_covered"], features["words_new"], features["names_covered"]) == (1, 0, 1)
    assert (features["subquestions"], features["references"], features["unused"]) == (2, 1, 0)
    worse = plan_features(ASKED, ("When was the mill burnt?", "Who was mayor?"), None, [])
    assert worse["words_covered"] == pytest.approx(1 / 5)
    assert worse["words_new"] == pytest.approx(2 / 3)
    assert (worse["names_covered"], worse["references"], worse["unused"]) == (0, 0, 1)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.floats(-9, 0), st.floats(-9, 9))
def test_any_plan_has_a_confidence_from_0_to_1(plan: list[str], logprob: float, weight: float) -> None:
    features = plan_features(ASKED, plan, 0.5, [logprob])
    assert 0 <= Calibration(weight, dict.fromkeys(FEATURES, weight)).confidence(features) <= 1


def test_a_card_says_languages_and_weights(tmp_path: Path) -> None:
    adapter = tmp_path / "a.gguf"
    assert load_card(adapter) == StudentCard()
    load_card.cache_clear()
    card = {"languages": ["en", "de"], "confidence": {"intercept": 1, "weights": {"words_covered": 2}}}
    adapter.with_suffix(".json").write_text(json.dumps(card))
    assert load_card(adapter) == StudentCard(("en", "de"), Calibration(1.0, {"words_covered": 2.0}))
    load_card.cache_clear()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"confidence": {}}', '{"confidence": {"intercept": 1, "weights": {"magic": 1}}}']
)
def test_a_card_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InvalidWeightsError, match=r"The card .*bad\.json cannot be read"):
        load_card(tmp_path / "bad.gguf")


def test_log_probabilities_of_another_shape_count_as_none() -> None:
    tokens = {"content": [{"token": "1", "logprob": -0.5}, {"token": ".", "logprob": -1.0}]}
    assert token_logprobs(AIMessage("", response_metadata={"logprobs": tokens})) == [-0.5, -1.0]
    shapes: list[Any] = [None, [], {"content": None}, {"content": [{"token": "1"}]}]
    for shape in shapes:
        assert token_logprobs(AIMessage("", response_metadata={"logprobs": shape})) == []
