"""Budgets: whatever is asked, however it is run, no more is spent than was allowed."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from langchain_divconq.budget import Budget, Cost, Pool, Purse, Strategy, Wave, cost_of
from langchain_divconq.calls import Call, Limiter, Reply, drive
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import BudgetExceededError, ConfigurationError
from langchain_divconq.limits import REPLY_TOKENS, SHORT_REPLY_TOKENS, hold
from langchain_divconq.solver import Solver
from langchain_divconq.types import Question, Solution
from langchain_divconq.usage import Price
from tests.unit_tests.fakes import PLAN, QUESTION, failing, scripted
from tests.unit_tests.writers import PLANS, PRICE, PRICES, Clock, Held, Writer, ask, chain, costs, solution


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that budgets and calls are timed by."""
    clock = Clock()
    monkeypatch.setattr("langchain_divconq.budget.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("langchain_divconq.calls.time", SimpleNamespace(perf_counter=clock, sleep=time.sleep))
    return clock


# The property


@given(
    tokens=st.none() | st.integers(0, 12_000),
    dollars=st.none() | st.floats(0, 0.1),
    price=st.sampled_from(PRICES),
    plan=st.sampled_from(PLANS),
    mode=st.sampled_from(["fused", "sequential", "parallel"]),
    lengths=st.lists(st.integers(0, REPLY_TOKENS), min_size=1, max_size=8),
    max_tokens=st.none() | st.integers(1, 2000),
    is_held=st.booleans(),
    bytes_a_token=st.integers(1, 6),
    metered=st.booleans(),
    count=st.integers(1, 4),
    limit=st.none() | st.integers(1, 3),
    how=st.sampled_from(["batch", "abatch", "stream"]),
)
@settings(max_examples=60)
def test_no_sequence_of_calls_costs_more_than_the_budget(
    tokens: int | None,
    dollars: float | None,
    price: Price,
    plan: tuple[str, ...],
    mode: str,
    lengths: list[int],
    max_tokens: int | None,
    is_held: bool,
    bytes_a_token: int,
    metered: bool,
    count: int,
    limit: int | None,
    how: str,
) -> None:
    fields: dict[str, Any] = {"lengths": tuple(lengths), "bytes_a_token": bytes_a_token, "metered": metered}
    model = Held(**fields, max_tokens=max_tokens) if is_held else Writer(**fields)
    budget = Budget(tokens=tokens, dollars=dollars)
    results = ask(chain(model, plan, mode, price), how, count, limit, budget=budget)
    billed = price.cost(input_tokens=model.input_tokens, cached_tokens=0, output_tokens=model.output_tokens)
    assert tokens is None or model.tokens <= tokens
    assert dollars is None or billed <= dollars + 1e-9
    answered = [result for result in results if not isinstance(result, BudgetExceededError)]
    assert all(isinstance(result, AIMessage) for result in answered)
    if metered:
        usage = [Solution.from_message(result).usage.solve for result in answered]
        assert sum(used.input_tokens + used.output_tokens for used in usage) == model.tokens


@given(
    tokens=st.integers(0, 12_000),
    plan=st.sampled_from(PLANS),
    mode=st.sampled_from(["fused", "sequential"]),
    lengths=st.lists(st.integers(0, 5_000), min_size=1, max_size=6),
    metered=st.booleans(),
    count=st.integers(1, 3),
)
@settings(max_examples=40)
def test_a_model_that_writes_as_much_as_it_likes_exceeds_the_budget_by_one_reply_a_question_at_most(
    tokens: int, plan: tuple[str, ...], mode: str, lengths: list[int], metered: bool, count: int
) -> None:
    model = Writer(lengths=tuple(lengths), metered=metered)
    ask(chain(model, plan, mode), "batch", count, 1, budget=Budget(tokens=tokens))
    assert model.tokens <= tokens + count * max(lengths)


@given(
    tokens=st.integers(0, 3_000),
    wishes=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 900), st.floats(0, 1)), min_size=1, max_size=6),
)
def test_what_purses_keep_never_exceeds_what_is_unspent(tokens: int, wishes: list[tuple[int, int, float]]) -> None:
    pool, opened = Pool(Budget(tokens=tokens)), []
    for length, limit, share in wishes:
        cheap, dear = (
            Call(Held(max_tokens=most), [HumanMessage("x" * length)], "call") for most in (min(limit, 64), limit)
        )
        purse = Purse(pool)
        opened.append(purse)
        walking = purse.walk([("dear", once(dear, dear)), ("cheap", once(cheap))])
        try:
            # Nobody else can give anything back here, so nobody waits for it.
            purse.pool.busy = 1
            drive(purse.open(cheap), {}, Limiter(None))
            used = {"input_tokens": int(length * share), "output_tokens": int(limit * share)}
            reply = Reply(AIMessage("x", usage_metadata={**used, "total_tokens": sum(used.values())}), 0.0)
            if next(walking):
                walking.send([reply])
        except (BudgetExceededError, StopIteration):
            pass
        assert pool.kept.tokens <= max(0, pool.unspent.tokens)
        if share < 0.5:
            opened.pop().close()
    for purse in opened:
        purse.close()
    assert pool.kept == pool.promised == Cost()
    assert pool.unspent.tokens >= 0


def once(*calls: Call) -> Strategy:
    """Make calls one after another, the last as the closing one."""
    for n, call in enumerate(calls):
        yield Wave((call,), calls[n + 1 :])


# How it steps down


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_it_steps_down_rather_than_overrun(mode: Any) -> None:
    model = Held(max_tokens=100)
    asked = chain(model, mode=mode)
    modes, reasons = [], []
    for tokens in range(costs(mode), 0, -10):
        try:
            solved = solution(asked, budget=Budget(tokens=tokens))
        except BudgetExceededError:
            modes.append("refused")
            continue
        modes.append(solved.mode)
        reasons.append(solved.reason)
    assert list(dict.fromkeys(modes)) == [mode, "fused", "step_by_step", "direct", "refused"]
    assert reasons[0] == "2 subquestions"
    assert f"2 subquestions; the budget does not pay for {mode}: it may take " in reasons[1]
    assert reasons[-1].endswith(f"the reply is held to {SHORT_REPLY_TOKENS} tokens")


def test_without_a_budget_nothing_is_held_or_said() -> None:
    model = Held()
    assert solution(chain(model)).reason == "2 subquestions"
    assert model.limits == [None] * 3


def test_a_reply_without_counts_is_paid_at_its_length_in_bytes() -> None:
    tokens = costs("sequential")
    metered, unmetered = Held(max_tokens=100, bytes_a_token=1), Held(max_tokens=100, bytes_a_token=1, metered=False)
    for model in (metered, unmetered):
        answers = ask(chain(model), "batch", 4, 1, budget=Budget(tokens=2 * tokens))
        assert [Solution.from_message(answer).answer for answer in answers] == ["7"] * 4
    assert max(metered.tokens, unmetered.tokens) <= 2 * tokens


def test_what_answers_turn_out_to_need_leaves_later_subquestions_unasked() -> None:
    # As long as it is allowed, and twice as many bytes: the prompts that repeat the answer outgrow what was foreseen.
    class Verbose(Held):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            result = super()._generate(messages, *args, **kwargs)
            result.generations[0].message.content = "Answer: " + "ø" * 300
            return result

    tokens = costs("sequential")
    model = Verbose(max_tokens=100, lengths=(100,), bytes_a_token=1)
    solved = solution(chain(model), budget=Budget(tokens=tokens))
    assert "the budget does not pay for more subquestions: with the next, it may take" in solved.reason
    assert "1 of 2 have no answer" in solved.reason
    assert solved.mode in ("sequential", "step_by_step", "direct")
    assert len(model.prompts) == 2
    assert model.tokens <= tokens


# What is refused


def test_what_cannot_be_paid_is_refused_in_words_before_any_model_is_asked() -> None:
    small, big = scripted(PLAN), Held()
    refusing = DivideAndConquer(solver=big, decomposer=small, budget=Budget(tokens=50))
    with pytest.raises(BudgetExceededError, match=r"cheapest way to answer: it may take \d+ tokens, and 50 are left"):
        refusing.invoke(QUESTION)
    with pytest.raises(BudgetExceededError, match=r"50 are left for this question\. Raise the budget"):
        list(refusing.stream(QUESTION))
    with pytest.raises(BudgetExceededError, match="50 are left"):
        asyncio.run(refusing.ainvoke(QUESTION))
    assert small.seen == []
    assert big.prompts == []


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(dollars=0.00001), r"it may take \$0\.00\d+, and \$0\.000010 is left"),
        (Budget(seconds=0), r"it may take 0\.0 seconds, and 0\.0 are left"),
    ],
)
def test_dollars_and_seconds_are_refused_in_dollars_and_seconds(budget: Budget, said: str) -> None:
    with pytest.raises(BudgetExceededError, match=said):
        chain(Held()).invoke(QUESTION, budget=budget)


def test_dollars_need_a_price() -> None:
    unpriced = DivideAndConquer(solver=Held(), decomposer=scripted(PLAN))
    with pytest.raises(ConfigurationError, match="A budget in dollars needs to know what the solver's model costs"):
        unpriced.invoke(QUESTION, budget=Budget(dollars=1))


def test_a_priced_decomposer_is_paid_from_the_same_dollars() -> None:
    model = Held(max_tokens=100)
    dear = Decomposer(model=scripted(PLAN), price=Price(input=1e6, output=1e6))
    both = DivideAndConquer(solver=Solver(model=model, price=PRICE), decomposer=dear)
    with pytest.raises(BudgetExceededError, match=r"\$0\.000000 is left"):
        both.invoke(QUESTION, budget=Budget(dollars=1))
    assert model.prompts == []


@pytest.mark.parametrize("budget", [7, "1 dollar", {"tokens": 5}])
def test_a_budget_is_a_budget(budget: Any) -> None:
    with pytest.raises(ConfigurationError, match="budget must be a Budget or None"):
        chain(Held()).invoke(QUESTION, budget=budget)
    with pytest.raises(ConfigurationError, match="budget must be a Budget or None"):
        chain(Held()).batch([QUESTION], budget=budget)


@pytest.mark.parametrize("limits", [{"tokens": -1}, {"dollars": float("nan")}, {"seconds": -0.1}, {"euros": 3}])
def test_limits_are_finite_numbers_from_zero(limits: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(limits))):
        Budget(**limits)


# Where it is given


def test_a_budget_with_a_call_takes_the_chains_place() -> None:
    limited = chain(Held(), budget=Budget(tokens=10))
    assert solution(limited, budget=None).mode == "sequential"
    assert Solution.from_message(limited.bind(budget=Budget(tokens=10**6)).invoke(QUESTION)).mode == "sequential"
    with pytest.raises(BudgetExceededError, match="10 are left"):
        limited.invoke(QUESTION)


def test_a_budget_can_be_a_configurable_field() -> None:
    configurable = chain(Held()).configurable_fields(budget=ConfigurableField(id="budget"))
    with pytest.raises(BudgetExceededError, match="9 are left"):
        configurable.invoke(QUESTION, {"configurable": {"budget": Budget(tokens=9)}})


def test_each_call_has_the_chains_budget_anew() -> None:
    model = Held(max_tokens=100)
    limited = chain(model, budget=Budget(tokens=costs("sequential")))
    assert [solution(limited).mode for _ in range(4)] == ["sequential"] * 4


# A batch


@pytest.mark.parametrize(("how", "limit", "count"), [("batch", 1, 200), ("batch", None, 60), ("abatch", None, 60)])
def test_a_batch_uses_its_budget_and_hardly_ever_steps_down(how: str, limit: int | None, count: int) -> None:
    # Replies of 60 tokens where 512 are allowed: what a question may cost is far more than it does.
    def run(budget: Budget | None) -> tuple[Held, list[Any]]:
        model = Held(max_tokens=512, lengths=(60,), delay=0)
        price = Price(input=0.25, output=2.0)
        return model, ask(chain(model, price=price), how, count, limit, budget=budget)

    def dollars(model: Held) -> float:
        return (model.input_tokens * 0.25 + model.output_tokens * 2.0) / 1e6

    free, _ = run(None)
    limited, results = run(Budget(dollars=1.1 * dollars(free)))
    modes = [Solution.from_message(result).mode for result in results]
    assert modes.count("sequential") >= 0.9 * count
    assert dollars(limited) <= 1.1 * dollars(free)


def test_each_question_still_to_come_can_be_paid_for_in_the_cheapest_way() -> None:
    # The first questions are cheap and the last long: what the first may take is what these do not need.
    asked = ["Why?"] * 10 + ["Why " + "so " * 300 + "?"] * 5
    model = Held(max_tokens=512, lengths=(512,), bytes_a_token=1)
    solver = chain(model).solver
    assert isinstance(solver, Solver)
    cheapest = sum(
        (cost_of(hold(solver.cheapest(question, {}))) for question in map(Question.from_input, asked)), Cost()
    )
    results = chain(model).batch(asked, {"max_concurrency": 1}, budget=Budget(tokens=int(cheapest.tokens) + 4_000))
    assert len({Solution.from_message(result).mode for result in results}) > 1
    assert model.tokens <= cheapest.tokens + 4_000


@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_a_question_waits_for_what_another_may_give_back(how: str) -> None:
    # The budget pays for what one question may take, and for what ten do take.
    model = Held(max_tokens=512, lengths=(20,), delay=0)
    results = ask(chain(model), how, 10, None, budget=Budget(tokens=10 * 600 + 2_500))
    assert [Solution.from_message(result).mode for result in results] == ["sequential"] * 10


def test_where_not_all_can_be_paid_for_the_first_come_are_served() -> None:
    cheapest = costs("direct")
    for how in ("batch", "abatch"):
        model = Held(max_tokens=100, lengths=(100,), bytes_a_token=1)
        results = ask(chain(model), how, 6, None, budget=Budget(tokens=2 * cheapest))
        refused = [result for result in results if isinstance(result, BudgetExceededError)]
        assert len(refused) == 4
        assert model.tokens <= 2 * cheapest


def test_a_call_that_fails_may_be_billed_and_stays_reserved() -> None:
    limited = chain(failing(TimeoutError("too slow")), plan=())
    budget = Budget(tokens=3 * (REPLY_TOKENS + 400))
    results = ask(limited, "batch", 6, 1, budget=budget)
    assert [type(result) for result in results].count(BudgetExceededError) >= 3


def test_a_stream_that_is_left_early_is_paid_in_full() -> None:
    model = Held(max_tokens=100)
    limited, pool = chain(model, plan=()), Pool(Budget(tokens=5_000))
    stream = limited.stream(QUESTION, budget=pool)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert 5_000 - pool.unspent.tokens > model.tokens
    assert pool.kept == Cost()


# Seconds


@pytest.mark.parametrize("mode", ["fused", "sequential", "parallel"])
def test_no_call_is_made_once_the_seconds_are_over(mode: Any, clock: Clock) -> None:
    model = Held(delay=2.0, clock=clock)
    start = clock()
    results = ask(chain(model, mode=mode), "batch", 12, 1, budget=Budget(seconds=15))
    assert any(isinstance(result, BudgetExceededError) for result in results)
    # One that had been planned may have waited for the end of another question's.
    assert max(model.starts) - start < 15 + 2


def test_when_time_runs_short_the_next_question_is_asked_in_fewer_rounds(clock: Clock) -> None:
    asked, pool = chain(Held(delay=2.0, clock=clock)), Pool(Budget(seconds=11))
    modes = []
    for _ in range(3):
        solved = solution(asked, budget=pool)
        modes.append((solved.mode, solved.reason.partition("; ")[2]))
    assert modes == [
        ("sequential", ""),
        ("fused", "the budget does not pay for sequential: it may take 6.0 seconds, and 5.0 are left"),
        ("fused", "the budget does not pay for sequential: it may take 6.0 seconds, and 3.0 are left"),
    ]
    with pytest.raises(BudgetExceededError, match=r"it may take 2\.0 seconds, and 1\.0 are left"):
        asked.invoke(QUESTION, budget=pool)


def test_a_slow_answer_leaves_later_subquestions_unasked(clock: Clock) -> None:
    model = Held(delay=2.0, clock=clock)
    solved = solution(chain(model, PLANS[3]), budget=Budget(seconds=7))
    assert len(model.prompts) == 3
    assert "the budget does not pay for more subquestions: with the next, it may take 4.0 seconds" in solved.reason
    assert "1 of 3 have no answer" in solved.reason
    assert solved.answer == "7"
