import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import ValidationError

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.drafts import no_decomposition_probability
from langchain_divconq.errors import DecompositionError, InvalidQuestionError
from langchain_divconq.grammar import MAX_TOKENS, decomposition_grammar
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.base import Request, Token, TokenLogprob
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Decomposition, Question
from langchain_divconq.usage import Price
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import PLAN, QUESTION, SUBQUESTIONS, failing, scripted


def test_a_plan_becomes_a_decomposition() -> None:
    decomposition = Decomposer(model=scripted(PLAN)).invoke(QUESTION)
    assert decomposition.question == Question(text=QUESTION)
    assert decomposition.subquestions == SUBQUESTIONS
    assert decomposition.text == PLAN
    assert decomposition.no_decomposition_probability is None
    assert decomposition.reason == ""


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (NO_DECOMPOSITION, "the decomposer says that no decomposition is needed"),
        ("1. how many pens are left?", "the plan only restates the question"),
    ],
)
def test_the_sentinel_and_a_restatement_divide_nothing_and_say_so(reply: str, reason: str) -> None:
    decomposition = Decomposer(model=scripted(reply)).invoke(QUESTION)
    assert (decomposition.subquestions, decomposition.reason) == ((), reason)


def test_the_context_is_shown_and_the_history_is_not() -> None:
    model = scripted(PLAN)
    Decomposer(model=model).invoke({"question": QUESTION, "context": "Mia sells pens."})
    assert "Mia sells pens." in model.seen[0][-1].text
    Decomposer(model=model).invoke([SystemMessage("Speak like a pirate."), ("human", QUESTION)])
    assert all("pirate" not in message.text for message in model.seen[1])


def test_a_teacher_is_shown_one_demonstration_unless_told_otherwise() -> None:
    model = scripted(PLAN)
    Decomposer(model=model).invoke(QUESTION)
    Decomposer(model=model, prompt_style="zero_shot").invoke(QUESTION)
    assert [message.type for message in model.seen[0]] == ["system", "human", "ai", "human"]
    assert [message.type for message in model.seen[1]] == ["system", "human"]


def test_the_cap_is_named_in_the_prompt_and_cuts_the_plan() -> None:
    model = scripted(PLAN)
    decomposition = Decomposer(model=model, max_subquestions=1).invoke(QUESTION)
    assert "into one simpler subquestion" in model.seen[0][0].text
    assert decomposition.subquestions == SUBQUESTIONS[:1]
    assert decomposition.reason == "1 of 2 subquestions were repeats, restatements or beyond the cap"


def test_a_gate_of_never_asks_no_model() -> None:
    model = scripted(PLAN)
    decomposition = Decomposer(model=model, gate="never").invoke(QUESTION)
    assert decomposition.subquestions == ()
    assert decomposition.reason == "the gate is 'never'"
    assert decomposition.usage.calls == 0
    assert model.seen == []


@pytest.mark.parametrize(("gate", "divided"), [(0.1, False), (0.25, False), (0.5, True), (1.0, True)])
def test_a_threshold_gate_decides_by_the_models_own_probability(gate: float, divided: bool) -> None:
    # The sentinel's first token holds 1 part of 4 beside the plan's.
    model = scripted(PLAN, logprobs={"1": -0.2876820724517809, "No": -1.3862943611198906, "The": -5.0})
    decomposition = Decomposer(model=model, gate=gate).invoke(QUESTION)
    assert decomposition.no_decomposition_probability == pytest.approx(0.25)
    assert bool(decomposition.subquestions) is divided
    if not divided:
        assert decomposition.reason == f"the probability that no decomposition is needed is 0.25 (gate {gate:g})"


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        [{"token": "No", "logprob": 0.0}],
        "No",
        {"content": None},
        {"content": {}},
        {"content": ["No"]},
        {"content": [{"token": "No", "logprob": None}]},
        {"content": [{"token": None, "logprob": 0.0, "top_logprobs": None}]},
        {"content": [{"token": "No", "logprob": 0.0, "top_logprobs": [{"No": 0.0}]}]},
        {"tokens": ["No"], "token_logprobs": [0.0]},
    ],
)
def test_log_probabilities_of_another_shape_count_as_none(logprobs: Any) -> None:
    message = AIMessage(NO_DECOMPOSITION, response_metadata={"logprobs": logprobs})
    assert no_decomposition_probability(message) is None
    assert Decomposer(model=RunnableLambda(lambda _: message)).invoke(QUESTION).subquestions == ()


def test_a_first_token_without_alternatives_counts_alone() -> None:
    first = {"token": "1", "logprob": -0.1, "top_logprobs": None}
    assert no_decomposition_probability(AIMessage(PLAN, response_metadata={"logprobs": {"content": [first]}})) == 0.0


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [({"No": 0.0}, 1.0), ({"1": 0.0}, 0.0), ({" No": -1.0, "1.": -1.0}, 0.5), ({"The": 0.0}, None)],
)
def test_the_probability_compares_the_beginnings_of_sentinel_and_plan(
    logprobs: dict[str, float], expected: float | None
) -> None:
    message = scripted(PLAN, logprobs=logprobs).invoke("?")
    assert no_decomposition_probability(message) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "ending",
    [
        *({"finish_reason": "length"}, {"finish_reason": "MAX_TOKENS"}, {"done_reason": "length"}),
        *({"stop_reason": "max_tokens"}, {"stopReason": "max_tokens"}),
    ],
)
def test_a_plan_cut_at_the_token_limit_keeps_its_whole_lines(ending: dict[str, str]) -> None:
    def cut(text: str) -> Decomposer:
        return Decomposer(model=scripted(lambda _: AIMessage(text, response_metadata=ending)))

    assert cut(PLAN).invoke(QUESTION).subquestions == SUBQUESTIONS[:1]
    with pytest.raises(DecompositionError, match="wrote no plan"):
        cut("1. How many pens are in").invoke(QUESTION)


@pytest.mark.parametrize(
    ("reply", "said"),
    [("Sure! The answer is 29.", "wrote no plan"), ("1. How old is #2?\n2. Who?", "Subquestion 1 refers to #2")],
)
def test_what_is_no_plan_raises_with_what_was_written(reply: str, said: str) -> None:
    with pytest.raises(DecompositionError, match=said) as caught:
        Decomposer(model=scripted(reply)).invoke(QUESTION)
    assert caught.value.llm_output == reply


def test_a_bad_question_raises_before_any_model_runs() -> None:
    model = scripted(PLAN)
    with pytest.raises(InvalidQuestionError, match="is empty"):
        Decomposer(model=model).invoke("  ")
    assert model.seen == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_subquestions": 0}, r"max_subquestions is 0; it must be from 1 to 9"),
        ({"max_subquestions": 10}, r"max_subquestions is 10"),
        ({"gate": 1.5}, r"gate is 1.5; it must be"),
        ({"gate": "sometimes"}, "gate"),
        ({"cap": 3}, "cap"),
    ],
)
def test_options_out_of_range_are_refused_when_the_decomposer_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decomposer(model=scripted(PLAN), **options)


def test_usage_is_the_models_own_with_dollars_at_the_stated_price() -> None:
    usage = Decomposer(model=scripted(PLAN), price=Price(input=1.0, output=2.0)).invoke(QUESTION).usage
    assert usage.calls == 1
    assert usage.output_tokens == len(PLAN.split(" ")) + 1  # the line break parts two more words
    assert usage.dollars == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)
    assert usage.seconds > 0


def test_it_composes_batches_and_retries_as_a_runnable() -> None:
    model = scripted(PLAN)
    chain = Decomposer(model=model.with_retry()) | RunnableLambda(lambda decomposition: decomposition.subquestions)
    assert chain.batch([QUESTION, {"question": QUESTION}, Question(text=QUESTION)]) == [SUBQUESTIONS] * 3


def test_a_models_own_failure_is_passed_on_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="slow"):
        Decomposer(model=failing(TimeoutError("slow"))).invoke(QUESTION)


def test_schemas_describe_what_goes_in_and_out() -> None:
    decomposer = Decomposer(model=scripted(PLAN))
    assert decomposer.get_output_jsonschema()["title"] == "Decomposition"
    assert {"type": "string"} in decomposer.get_input_jsonschema()["anyOf"]
    assert isinstance(decomposer.invoke(QUESTION), Decomposition)


class Torn(FakeEngine):
    """Holds the sentinel for likelier than a plan, 0.6 to 0.4, and writes what its grammar allows."""

    def _tokens(self, request: Request) -> Iterator[Token]:
        none, plan = TokenLogprob("No", math.log(0.6)), TokenLogprob("1", math.log(0.4))
        assert request.grammar is not None
        if "none |" in request.grammar:
            yield Token("No", none, (none, plan))
            yield Token(NO_DECOMPOSITION.removeprefix("No"))
        else:
            yield Token("1", plan, (none, plan))
            yield Token(PLAN.removeprefix("1"))


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch) -> Torn:
    install(monkeypatch, engine := Torn([]))
    return engine


def test_a_gguf_is_held_to_the_grammar_of_a_plan(torn: Torn) -> None:
    hotter = ChatGGUF().configurable_fields(temperature=ConfigurableField(id="t"))
    for model in (ChatGGUF(), ChatGGUF().with_retry(), ChatGGUF().bind(seed=1), hotter):
        Decomposer(model=model, max_subquestions=2, gate=0.5, prompt_style="one_shot").invoke(QUESTION)
    assert {request.grammar for request in torn.requests} == {decomposition_grammar(2)}
    assert {request.max_tokens for request in torn.requests} == {2 * MAX_TOKENS}
    assert {request.num_beams for request in torn.requests} == {1}


def test_as_many_beams_are_followed_as_the_decomposer_says(torn: Torn) -> None:
    Decomposer(ChatGGUF(), num_beams=3).invoke(QUESTION)
    assert {request.num_beams for request in torn.requests} == {3}
    for number in (0, 17):
        with pytest.raises(ValidationError, match=f"num_beams is {number}; it must be a whole number from 1 to 16"):
            Decomposer(ChatGGUF(), num_beams=number)


def test_a_gate_above_the_sentinels_probability_asks_again_for_a_plan_alone(torn: Torn) -> None:
    decomposition = Decomposer(model=ChatGGUF(), gate=0.8, min_confidence=0).invoke(QUESTION)
    assert decomposition.no_decomposition_probability == pytest.approx(0.6)
    assert decomposition.subquestions == SUBQUESTIONS
    assert [request.grammar for request in torn.requests] == [
        decomposition_grammar(4),
        decomposition_grammar(4, allow_none=False),
    ]
    assert decomposition.usage.calls == 2


def test_a_gate_below_the_sentinels_probability_leaves_the_question_whole(torn: Torn) -> None:
    decomposition = Decomposer(model=ChatGGUF(), gate=0.5).invoke(QUESTION)
    assert decomposition.reason == "the probability that no decomposition is needed is 0.60 (gate 0.5)"
    assert len(torn.requests) == 1


def test_a_gate_of_always_leaves_the_model_no_sentinel(torn: Torn) -> None:
    decomposition = Decomposer(model=ChatGGUF(), gate="always", min_confidence=0).invoke(QUESTION)
    assert decomposition.subquestions == SUBQUESTIONS
    assert [request.grammar for request in torn.requests] == [decomposition_grammar(4, allow_none=False)]


def test_a_model_with_an_adapter_is_shown_no_demonstration(torn: Torn) -> None:
    Decomposer(model=ChatGGUF(adapter_path=Path("a.gguf")), gate=0.5).invoke(QUESTION)
    Decomposer(model=ChatGGUF(model_path=Path("m.gguf")), gate=0.5).invoke(QUESTION)
    assert [str(request.prompt).count('"role"') for request in torn.requests] == [2, 4]
