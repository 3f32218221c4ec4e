"""Budgets: whatever is asked, however it is run, no more is spent than was allowed."""

import asyncio
import threading
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from pydantic import Field, PrivateAttr, ValidationError

from langchain_divconq.budget import Budget, Cost, Ledger, prompt_tokens
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import BudgetExceededError, ConfigurationError
from langchain_divconq.ladder import REPLY_TOKENS, SHORTEST_REPLY
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Question, Solution
from langchain_divconq.usage import Price
from tests.unit_tests.fakes import PLAN, QUESTION, ScriptedModel, failing, scripted

PRICE = Price(input=2.0, output=10.0, cached_input=0.5)
PRICES = (PRICE, Price(input=0, output=0), Price(input=1.0, output=0, cached_input=4.0), Price(input=0, output=3.0))
PLANS = (
    (),
    ("How many pens are in 3 boxes of 12?",),
    ("How many pens are in 3 boxes of 12?", "How many of #1 pens are left after 7 are given away?"),
    ("When was the bridge opened?", "When was the mill built?", "Which is older, #1 or #2?"),
)


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that budgets and calls are timed by."""
    clock = Clock()
    monkeypatch.setattr("langchain_divconq.budget.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("langchain_divconq.calls.time", SimpleNamespace(perf_counter=clock))
    return clock


class Writer(BaseChatModel):
    """Writes replies of given lengths, and counts what they cost, as the bill of a provider would.

    Attributes:
        lengths: Tokens it would write, call after call, the last of them again and again.
        bytes_a_token: How many bytes of a prompt it takes for a token, at least 1.
        metered: Whether it reports usage.
        delay: Seconds a call takes, by the clock.
    """

    lengths: tuple[int, ...] = (20,)
    bytes_a_token: int = 4
    metered: bool = True
    delay: float = 0.0
    clock: Clock = Field(default_factory=Clock)
    limits: list[int | None] = Field(default_factory=list)
    prompts: list[str] = Field(default_factory=list)
    starts: list[float] = Field(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def _llm_type(self) -> str:
        return "writer"

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def limit(self, options: dict[str, Any]) -> int | None:
        limit: int | None = options.get("max_tokens")
        return limit

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        with self._lock:
            self.starts.append(self.clock())
            self.clock.now += self.delay
            limit = self.limit(options)
            written = self.lengths[min(len(self.limits), len(self.lengths) - 1)]
            written = written if limit is None else min(written, limit)
            read = sum(len(message.text.encode()) for message in messages) // self.bytes_a_token
            self.limits.append(limit)
            self.prompts.append(messages[-1].text)
            self.input_tokens += read
            self.output_tokens += written
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        # As many bytes as tokens at least, as a tokenizer has it; the last words are the answer.
        text = "x" * max(0, written - 9) + "\nAnswer: 7"
        message = AIMessage(text, usage_metadata=usage if self.metered else None)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Held(Writer):
    """A model that takes `max_tokens`, of its own and with a call."""

    max_tokens: int | None = None

    def limit(self, options: dict[str, Any]) -> int | None:
        limit: int | None = options.get("max_tokens", self.max_tokens)
        return limit


def profile(longest: int, most_read: int = 100_000) -> ModelProfile:
    """Return what a provider's package knows of a model that can write so many tokens at once."""
    return {"max_input_tokens": most_read, "max_output_tokens": longest}


def chain(
    model: Any, plan: tuple[str, ...] = PLANS[2], mode: Any = "sequential", price: Price = PRICE, **fields: Any
) -> DivideAndConquer:
    """Return a chain whose decomposer always makes the same plan."""

    def decompose(question: Question) -> Decomposition:
        return Decomposition(question=question, subquestions=plan)

    solver = Solver(model=model, mode=mode, price=price)
    return DivideAndConquer(solver=solver, decomposer=RunnableLambda(decompose), **fields)


def ask(chain: DivideAndConquer, how: str, count: int, limit: int | None, **options: Any) -> list[Any]:
    """Ask the same question some times, in one of the ways there are; exceptions are returned."""
    questions, config = [QUESTION] * count, {"max_concurrency": limit}
    if how == "batch":
        return chain.batch(questions, config, return_exceptions=True, **options)  # type: ignore[arg-type]
    if how == "abatch":
        return asyncio.run(chain.abatch(questions, config, return_exceptions=True, **options))  # type: ignore[arg-type]
    try:
        return [list(chain.stream(QUESTION, **options))[-1]]
    except BudgetExceededError as error:
        return [error]


def solution(chain: DivideAndConquer, **options: Any) -> Solution:
    return Solution.from_message(chain.invoke(QUESTION, **options))


# The property


@given(
    tokens=st.none() | st.integers(0, 12_000),
    dollars=st.none() | st.floats(0, 0.1),
    price=st.sampled_from(PRICES),
    plan=st.sampled_from(PLANS),
    mode=st.sampled_from(["fused", "sequential", "parallel"]),
    lengths=st.lists(st.integers(0, REPLY_TOKENS), min_size=1, max_size=8),
    max_tokens=st.none() | st.integers(1, 2000),
    longest=st.integers(0, 8_000),
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
    longest: int,
    is_held: bool,
    bytes_a_token: int,
    metered: bool,
    count: int,
    limit: int | None,
    how: str,
) -> None:
    fields: dict[str, Any] = {"lengths": tuple(lengths), "bytes_a_token": bytes_a_token, "metered": metered}
    writing = {"max_tokens": max_tokens, "profile": profile(longest), "lengths": (*lengths, longest)}
    model = Held(**{**fields, **writing}) if is_held else Writer(**fields)
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


@given(text=st.text(), count=st.integers(1, 3))
def test_a_prompt_has_no_more_tokens_than_bytes_and_what_a_template_adds(text: str, count: int) -> None:
    messages: list[BaseMessage] = [HumanMessage(text)] * count
    assert prompt_tokens(messages) >= count * len(text.encode(errors="surrogatepass"))
    assert prompt_tokens([SystemMessage("x"), *messages]) > prompt_tokens(messages)


@given(
    tokens=st.none() | st.integers(0, 1000),
    dollars=st.none() | st.floats(0, 1),
    questions=st.integers(1, 8),
    wishes=st.lists(st.tuples(st.integers(0, 500), st.floats(0, 0.5), st.floats(0, 1)), max_size=12),
)
def test_what_accounts_hold_and_have_spent_never_exceeds_the_budget(
    tokens: int | None, dollars: float | None, questions: int, wishes: list[tuple[int, float, float]]
) -> None:
    ledger, spent, opened = Ledger(Budget(tokens=tokens, dollars=dollars), questions), Cost(), []
    for wish, price, share in wishes:
        context = ledger.account()
        account = context.__enter__()
        opened.append((context, account))
        account.claim(Cost(wish, price))
        if not account.shortage(used := Cost(wish * share, price * share), 1):
            account.spend(used)
            spent += used
        if share < 0.5:
            opened.pop()[0].__exit__(None, None, None)
        held = sum((account.left for _, account in opened), Cost())
        assert tokens is None or held.tokens + spent.tokens <= tokens + 1e-6
        assert dollars is None or held.dollars + spent.dollars <= dollars + 1e-9
    for context, _ in opened:
        context.__exit__(None, None, None)


# The ladder


@cache
def costs(mode: Any) -> int:
    """Return the fewest tokens with which a mode runs ("direct": with which any does), found by trying."""
    asked = chain(Held(max_tokens=100), mode="fused" if mode == "direct" else mode)
    low, high = 0, 4_000
    while low < high:
        middle = (low + high) // 2
        try:
            enough = solution(asked, budget=Budget(tokens=middle)).mode == mode or mode == "direct"
        except BudgetExceededError:
            enough = False
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


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
    held = int(reasons[-1].partition("the reply is held to ")[2].split()[0])
    assert SHORTEST_REPLY <= held < SHORTEST_REPLY + 10


def test_the_solver_is_told_how_much_it_may_write() -> None:
    model = Held(max_tokens=100)
    solution(chain(model), budget=Budget(tokens=5_000))
    assert model.limits == [100, 100, 100]
    unlimited = Held()
    solution(chain(unlimited), budget=Budget(tokens=50_000))
    assert unlimited.limits == [REPLY_TOKENS] * 3
    given = Held()
    solution(chain(given), budget=Budget(tokens=50_000), max_tokens=30)
    assert given.limits == [30] * 3
    bound = Held().bind(max_tokens=40).with_retry()
    solution(chain(bound), budget=Budget(tokens=50_000))
    assert bound.bound.bound.limits == [40] * 3  # type: ignore[attr-defined]


def test_where_more_is_left_than_all_calls_need_replies_may_be_as_long_as_the_model_can_write() -> None:
    model = Held(profile=profile(4_000))
    solution(chain(model), budget=Budget(tokens=50_000))
    assert model.limits == [4_000] * 3
    shared = Held(profile=profile(4_000), lengths=(4_000,))
    solution(chain(shared), budget=Budget(tokens=9_000))
    assert all(REPLY_TOKENS < limit < 4_000 for limit in shared.limits if limit is not None)
    assert 8_000 < shared.tokens <= 9_000
    allowed = Held(profile=profile(4_000), max_tokens=2_000)
    solution(chain(allowed), budget=Budget(tokens=50_000))
    assert allowed.limits == [2_000] * 3


def test_a_model_that_could_write_more_steps_down_no_sooner() -> None:
    def reached(model: Held) -> list[str]:
        results = [
            ask(chain(model), "stream", 1, None, budget=Budget(tokens=tokens)) for tokens in range(0, 9_000, 150)
        ]
        return [Solution.from_message(one).mode if isinstance(one, AIMessage) else "refused" for [one] in results]

    assert reached(Held(profile=profile(4_000), lengths=(4_000,))) == reached(Held(lengths=(4_000,)))


def test_a_prompt_leaves_room_for_the_reply_in_what_the_model_reads() -> None:
    model = Held(profile=profile(1_600, most_read=1_700))
    solution(chain(model, plan=()), budget=Budget(tokens=50_000))
    [limit] = model.limits
    assert limit is not None
    assert REPLY_TOKENS < limit < 1_700 - len(model.prompts[0])


class MaxTokens(ScriptedModel):
    """Names its limit as most models do."""

    max_tokens: int | None = None


class MaxOutput(ScriptedModel):
    """Names its limit as Google's models do."""

    max_output_tokens: int | None = None


class NumPredict(ScriptedModel):
    """Names its limit as Ollama's models do, which take none with a call."""

    num_predict: int | None = None


def saying(kind: type[ScriptedModel] = ScriptedModel, **fields: Any) -> ScriptedModel:
    return kind(reply=lambda _: "Answer: 29", **fields)


@pytest.mark.parametrize(
    ("model", "bound", "told"),
    [
        (saying(), {"max_completion_tokens": 100}, {"max_completion_tokens": 100}),
        (saying(), {"num_predict": 100}, {"num_predict": 100}),
        (saying(MaxTokens), {"max_completion_tokens": 100}, {"max_completion_tokens": 100}),
        (saying(MaxTokens, max_tokens=50), {"max_completion_tokens": 100}, {"max_completion_tokens": 50}),
        (saying(MaxOutput), {}, {"max_output_tokens": REPLY_TOKENS}),
        (saying(MaxOutput, max_output_tokens=100), {}, {"max_output_tokens": 100}),
        (saying(MaxOutput, max_output_tokens=100), {"max_output_tokens": 200}, {"max_output_tokens": 200}),
        (saying(MaxOutput, max_output_tokens=100), {"max_tokens": 200}, {"max_tokens": 100}),
        (saying(NumPredict, num_predict=100), {}, {}),
    ],
)
def test_a_limit_counts_by_whatever_name_it_goes(
    model: ScriptedModel, bound: dict[str, int], told: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    solution(chain(model.bind(**bound)), budget=Budget(tokens=50_000))
    assert model.options == [told] * 3
    assert "cannot hold" not in caplog.text


def test_a_limit_of_another_name_is_shortened_too() -> None:
    model = saying().bind(max_completion_tokens=100)
    solved = solution(chain(model, plan=()), budget=Budget(tokens=costs("direct")))
    [options] = model.bound.options  # type: ignore[attr-defined]
    assert SHORTEST_REPLY <= options["max_completion_tokens"] < SHORTEST_REPLY + 10
    assert "the reply is held to" in solved.reason


def test_fallbacks_are_held_where_one_argument_holds_them_all() -> None:
    first, second = failing(TimeoutError("too slow")), saying()
    both = first.bind(max_tokens=50).with_fallbacks([second.bind(max_tokens=40)])
    solution(chain(both), budget=Budget(tokens=50_000))
    assert [*first.options, *second.options] == [{"max_tokens": 40}] * 6


def test_fallbacks_that_hold_themselves_each_in_its_own_way_are_told_nothing() -> None:
    first, second = failing(TimeoutError("too slow")), saying(NumPredict, num_predict=90)
    both = first.bind(max_tokens=50).with_fallbacks([second])
    solution(chain(both, plan=()), budget=Budget(tokens=2_000))
    assert [*first.options, *second.options] == [{"max_tokens": 50}, {}]


def test_what_cannot_be_held_is_warned_of_once_by_name(caplog: pytest.LogCaptureFixture) -> None:
    class Rambling(ScriptedModel):
        pass

    with_fallback: Runnable[Any, Any] = Held().with_fallbacks([saying(Rambling)])
    for _ in range(2):
        solution(chain(with_fallback), budget=Budget(tokens=50_000))
    [warning] = [record for record in caplog.records if "cannot hold" in record.message]
    assert warning.name == "langchain_divconq.ladder"
    assert "cannot hold the replies of Rambling" in warning.message
    assert "bind max_tokens" in warning.message


def test_what_takes_no_limit_is_given_none() -> None:
    model = scripted("Answer: 29")
    solution(chain(model), budget=Budget(tokens=50_000))
    assert model.options == [{}] * 3
    no_model: Runnable[Any, Any] = RunnableLambda(lambda _: "Answer: 29")
    assert solution(chain(no_model), budget=Budget(tokens=50_000)).mode == "sequential"


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
    # Which of two questions in flight gets what another left depends on their timing; the sum does not.
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


def test_dollars_are_refused_in_dollars() -> None:
    with pytest.raises(BudgetExceededError, match=r"it may take \$0\.00\d+, and \$0\.000010 is left"):
        chain(Held()).invoke(QUESTION, budget=Budget(dollars=0.00001))


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


def test_a_batch_shares_one_budget_in_equal_parts() -> None:
    tokens = costs("fused")
    model = Held(max_tokens=100, lengths=(100,), bytes_a_token=1)
    messages = ask(chain(model), "batch", 5, 1, budget=Budget(tokens=5 * tokens))
    assert {Solution.from_message(message).mode for message in messages} <= {"fused", "sequential"}
    assert model.tokens <= 5 * tokens


def test_what_a_question_does_not_use_goes_to_those_that_follow() -> None:
    model = Held(max_tokens=100, lengths=(5,))
    batch = chain(model).batch([QUESTION] * 6, {"max_concurrency": 1}, budget=Budget(tokens=6 * costs("fused")))
    modes = [Solution.from_message(message).mode for message in batch]
    assert modes[0] == "fused"
    assert modes[-1] == "sequential"


def test_where_the_equal_part_pays_for_nothing_the_first_come_are_served() -> None:
    cheapest = costs("direct")
    for how in ("batch", "abatch"):
        model = Held(max_tokens=100, lengths=(100,), bytes_a_token=1)
        results = ask(chain(model), how, 6, None, budget=Budget(tokens=2 * cheapest))
        refused = [result for result in results if isinstance(result, BudgetExceededError)]
        assert len(refused) in (4, 5)
        assert model.tokens <= 2 * cheapest


def test_a_question_that_fails_gives_back_what_it_did_not_reserve() -> None:
    ledger = Ledger(Budget(tokens=1000))

    def fail() -> None:
        with ledger.account() as account:
            account.spend(Cost(300))
            raise PermissionError("no key")

    with pytest.raises(PermissionError, match="no key"):
        fail()
    with ledger.account() as account:
        assert account.left.tokens == 700


def test_a_call_that_fails_may_be_billed_and_stays_reserved() -> None:
    limited = chain(failing(TimeoutError("too slow")), plan=())
    budget = Budget(tokens=3 * (REPLY_TOKENS + 400))
    results = ask(limited, "batch", 6, 1, budget=budget)
    assert [type(result) for result in results].count(BudgetExceededError) >= 3


def test_a_stream_that_is_left_early_is_paid_in_full() -> None:
    model = Held(max_tokens=100)
    limited, ledger = chain(model, plan=()), Ledger(Budget(tokens=5_000))
    stream = limited.stream(QUESTION, budget=ledger)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with ledger.account() as account:
        assert 5_000 - account.left.tokens > model.tokens


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
    asked, ledger = chain(Held(delay=2.0, clock=clock)), Ledger(Budget(seconds=11))
    modes = []
    for _ in range(3):
        solved = solution(asked, budget=ledger)
        modes.append((solved.mode, solved.reason.partition("; ")[2]))
    assert modes == [
        ("sequential", ""),
        ("fused", "the budget does not pay for sequential: it may take 6.0 seconds, and 5.0 are left"),
        ("fused", "the budget does not pay for sequential: it may take 6.0 seconds, and 3.0 are left"),
    ]
    with pytest.raises(BudgetExceededError, match=r"it may take 2\.0 seconds, and 1\.0 are left"):
        asked.invoke(QUESTION, budget=ledger)


def test_a_slow_answer_leaves_later_subquestions_unasked(clock: Clock) -> None:
    model = Held(delay=2.0, clock=clock)
    solved = solution(chain(model, PLANS[3]), budget=Budget(seconds=7))
    assert len(model.prompts) == 3
    assert "the budget does not pay for more subquestions: with the next, it may take 4.0 seconds" in solved.reason
    assert "1 of 3 have no answer" in solved.reason
    assert solved.answer == "7"


def test_time_that_is_up_is_refused_in_seconds() -> None:
    with pytest.raises(BudgetExceededError, match=r"it may take 0\.0 seconds, and 0\.0 are left"):
        chain(Held()).invoke(QUESTION, budget=Budget(seconds=0))
