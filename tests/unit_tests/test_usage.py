from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from pydantic import ValidationError

from langchain_divconq.usage import Price, StageUsage, Usage

PRICE = Price(input=2.0, output=10.0, cached_input=0.5)

# Whole numbers: floats add up exactly, so that the laws hold exactly.
WHOLE = st.integers(0, 10**6)


COUNTS = dict.fromkeys(["calls", "unmetered_calls", "input_tokens", "cached_tokens", "output_tokens"], WHOLE)
STAGES = st.builds(StageUsage, **COUNTS, seconds=WHOLE.map(float), dollars=st.none() | WHOLE.map(float))
USAGES = st.builds(Usage, decompose=STAGES, solve=STAGES)


def reply(input_tokens: int, output_tokens: int, cached: int | None = None) -> AIMessage:
    metadata = UsageMetadata(
        input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
    )
    if cached is not None:
        metadata["input_token_details"] = {"cache_read": cached}
    return AIMessage("Answer: 29", usage_metadata=metadata)


@pytest.mark.parametrize(
    ("input_tokens", "cached_tokens", "output_tokens", "dollars"),
    [
        *((0, 0, 0, 0.0), (1_000_000, 0, 0, 2.0), (1_000_000, 1_000_000, 0, 0.5), (0, 0, 1_000_000, 10.0)),
        (1_000, 400, 50, (600 * 2.0 + 400 * 0.5 + 50 * 10.0) / 1e6),
    ],
)
def test_a_call_costs_what_its_tokens_cost(
    input_tokens: int, cached_tokens: int, output_tokens: int, dollars: float
) -> None:
    cost = PRICE.cost(input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens)
    assert cost == pytest.approx(dollars, abs=1e-12)


def test_cached_tokens_cost_as_much_as_others_unless_a_price_is_given() -> None:
    price = Price(input=3.0, output=1.0)
    assert price.cost(input_tokens=1_000_000, cached_tokens=600_000, output_tokens=0) == pytest.approx(3.0)
    free = Price(input=3.0, output=1.0, cached_input=0.0)
    assert free.cost(input_tokens=1_000_000, cached_tokens=600_000, output_tokens=0) == pytest.approx(1.2)


@pytest.mark.parametrize("bad", [-0.01, float("nan"), float("inf")])
def test_a_price_is_a_finite_number_from_zero(bad: float) -> None:
    with pytest.raises(ValidationError, match="input"):
        Price(input=bad, output=1.0)


def test_a_call_is_read_from_the_message_it_returned() -> None:
    usage = StageUsage.of_call(reply(100, 20, cached=30), seconds=1.5, price=PRICE)
    assert (usage.calls, usage.unmetered_calls, usage.seconds) == (1, 0, 1.5)
    assert (usage.input_tokens, usage.cached_tokens, usage.evaluated_tokens, usage.output_tokens) == (100, 30, 70, 20)
    assert usage.dollars == pytest.approx((70 * 2.0 + 30 * 0.5 + 20 * 10.0) / 1e6)


@pytest.mark.parametrize("cached", [None, 0])
def test_a_provider_without_a_cache_has_no_cached_tokens(cached: int | None) -> None:
    assert StageUsage.of_call(reply(100, 20, cached=cached), seconds=0.0).cached_tokens == 0


def test_more_cached_tokens_than_prompt_tokens_count_as_the_whole_prompt() -> None:
    usage = StageUsage.of_call(reply(100, 20, cached=250), seconds=0.0, price=PRICE)
    assert (usage.cached_tokens, usage.evaluated_tokens) == (100, 0)
    assert usage.dollars == pytest.approx((100 * 0.5 + 20 * 10.0) / 1e6)


@pytest.mark.parametrize("message", [AIMessage("Answer: 29"), HumanMessage("29")], ids=["ai", "human"])
def test_a_call_without_token_counts_is_counted_as_unmetered_and_costs_nothing_known(
    message: AIMessage | HumanMessage,
) -> None:
    usage = StageUsage.of_call(message, seconds=2.0, price=PRICE)
    assert usage == StageUsage(calls=1, unmetered_calls=1, seconds=2.0, dollars=None)


def test_dollars_are_unknown_without_a_price_and_add_up_where_they_are_known() -> None:
    unknown = StageUsage.of_call(reply(100, 20), seconds=0.0)
    known = StageUsage.of_call(reply(100, 20), seconds=0.0, price=Price(input=0, output=0))
    assert unknown.dollars is None
    assert (unknown + unknown).dollars is None
    assert known.dollars == 0.0
    assert (unknown + known).dollars == 0.0
    assert (StageUsage(dollars=0.25) + unknown + StageUsage(dollars=0.5)).dollars == 0.75


@given(USAGES, USAGES, USAGES)
def test_addition_is_associative_and_commutative_and_knows_a_zero(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Usage() == a == Usage() + a
    assert a.total == a.decompose + a.solve


@given(st.lists(USAGES, min_size=1, max_size=6))
def test_sum_adds_up_a_batch(batch: list[Usage]) -> None:
    total = sum(batch)
    assert isinstance(total, Usage)
    assert total == sum(batch, Usage())
    assert total.solve == sum(usage.solve for usage in batch)
    assert total.decompose.input_tokens == sum(usage.decompose.input_tokens for usage in batch)
    assert total.total.calls == sum(usage.total.calls for usage in batch)


def test_the_sum_of_nothing_is_the_start_that_was_given() -> None:
    nothing: list[Usage] = []
    assert sum(nothing, Usage()) == Usage()
    assert sum(nothing) == 0
    assert Usage().total == StageUsage()


@pytest.mark.parametrize(
    ("usage", "other"),
    [(Usage(), 1), (Usage(), None), (Usage(), 0.5), (Usage(), StageUsage()), (StageUsage(), 1)],
)
def test_a_usage_adds_to_a_usage_of_its_kind_alone(usage: Any, other: Any) -> None:
    for one, another in ((usage, other), (other, usage)):
        with pytest.raises(TypeError, match="unsupported operand"):
            one + another


def test_usage_does_not_change() -> None:
    usage = Usage()
    with pytest.raises(ValidationError, match="frozen"):
        usage.solve = StageUsage(calls=1)
    with pytest.raises(ValidationError, match="frozen"):
        usage.solve.calls = 1


@pytest.mark.parametrize("field", ["calls", "unmetered_calls", "input_tokens", "cached_tokens", "output_tokens"])
def test_counts_start_from_zero(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        StageUsage(**{field: -1})


@given(USAGES)
def test_usage_survives_json(usage: Usage) -> None:
    assert Usage.model_validate_json(usage.model_dump_json()) == usage
