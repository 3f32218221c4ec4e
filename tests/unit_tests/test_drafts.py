"""Which reply of a beam search a decomposer takes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_divconq.confidence import token_logprobs
from langchain_divconq.drafts import closest, no_decomposition_probability
from langchain_divconq.types import Question

QUESTION = Question(text="Who is the mother of the architect of the old theatre?")
LIKELIEST = {"text": "1. Who is the architect?\n2. Who is the mother of #1?", "score": -0.1, "logprobs": [-0.2, -0.1]}
CLOSER = {
    "text": "1. Who is the architect of the old theatre?\n2. Who is the mother of #1?",
    "score": -0.15,
    "logprobs": [-0.2, -0.1, -0.2],
}
FIRST = {"token": "1", "logprob": -0.2, "top_logprobs": [{"token": "No", "logprob": -1.7}]}


def found(*beams: Any) -> AIMessage:
    content = [FIRST, {"token": ". Who", "logprob": -0.1}]
    metadata = {"logprobs": {"content": content, "beams": [*beams]}, "finish_reason": "stop"}
    return AIMessage(str(LIKELIEST["text"]), response_metadata=metadata)


def test_of_likely_plans_the_one_that_keeps_to_the_questions_words_is_taken() -> None:
    message = closest(found(LIKELIEST, CLOSER), QUESTION)
    assert message.text == CLOSER["text"]
    assert token_logprobs(message) == [-0.2, -0.1, -0.2]
    assert no_decomposition_probability(message) == no_decomposition_probability(found(LIKELIEST))
    assert message.response_metadata["finish_reason"] == "stop"


def test_words_that_the_question_does_not_have_speak_against_a_plan() -> None:
    newer = {
        **CLOSER,
        "text": "1. Who is the famous architect of the old theatre in Rome?\n2. Who is the mother of #1?",
    }
    assert closest(found(newer, CLOSER), QUESTION).text == CLOSER["text"]


def test_a_plan_that_is_far_less_likely_is_not_taken_for_its_words() -> None:
    assert closest(found(LIKELIEST, {**CLOSER, "score": -0.5}), QUESTION).text == LIKELIEST["text"]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"logprobs": None},
        {"logprobs": {"content": [FIRST]}},
        {"logprobs": {"content": [FIRST], "beams": []}},
        {"logprobs": {"content": [], "beams": [CLOSER]}},
        {"logprobs": {"content": [FIRST], "beams": "many"}},
        {"logprobs": {"content": [FIRST], "beams": [{"text": "1. Who?"}]}},
        {"logprobs": {"content": [FIRST], "beams": [{**CLOSER, "text": "What?"}]}},
    ],
)
def test_a_reply_without_plans_to_choose_from_is_left_as_it_is(metadata: dict[str, Any]) -> None:
    message = AIMessage("1. Who?", response_metadata=metadata)
    assert closest(message, QUESTION) is message


@given(st.lists(st.integers(-200, 0), min_size=1, max_size=6))
def test_of_plans_with_the_same_words_the_likeliest_is_taken(hundredths: list[int]) -> None:
    beams = [{**CLOSER, "score": one / 100, "logprobs": [-0.2, one / 100]} for one in hundredths]
    assert token_logprobs(closest(found(*beams), QUESTION)) == [-0.2, max(hundredths) / 100]
