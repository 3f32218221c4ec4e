"""Budgets: what a call may cost, held to by checking before each wave of the solver's calls what it may cost at most.

A pool holds what a budget has left, for all questions of a batch. Each question has a purse: it keeps what its cheapest
way to answer may cost, and claims what a better way may cost if the pool can spare that: all but what other questions
claim, and the cheapest way for each question still to come. A claim is settled at what the calls did cost. Where others
may still give something back, a claim waits for it. So neither calls nor questions at once overrun together.
"""

import math
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from langchain_core.messages import AIMessage

from langchain_divconq.calls import Call, Pause, Reply, Stage
from langchain_divconq.errors import BudgetExceededError
from langchain_divconq.limits import Held, hold, most_tokens
from langchain_divconq.usage import Count, NonNegative, Record, StageUsage

Name = TypeVar("Name", bound=str)

_SLACK = 1e-12  # dollars that sums of floats may be off


class Budget(Record):
    """What one call of the chain may cost at most; a batch is one call. None: no limit.

    Example:
        ```python
        chain.batch(questions, budget=Budget(dollars=0.05, seconds=60))
        ```
    """

    dollars: NonNegative | None = None
    """US dollars, which needs the solver's price. The decomposer's are counted too where it has a price."""

    tokens: Count | None = None
    """Tokens the solver reads and writes; what the decomposer uses is not counted."""

    seconds: NonNegative | None = None
    """Seconds from the beginning of the call, decomposition included. No solver call is planned that, as long as the
    slowest so far, would end later; one under way is not cut short."""


@dataclass(frozen=True)
class Cost:
    """Tokens and dollars, as one quantity; infinite where there is no limit."""

    tokens: float = 0
    dollars: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.dollars + other.dollars)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens - other.tokens, self.dollars - other.dollars)

    def at_least(self, other: "Cost") -> "Cost":
        """Return the larger of both, tokens and dollars apart."""
        return Cost(max(self.tokens, other.tokens), max(self.dollars, other.dollars))

    def at_most(self, other: "Cost") -> "Cost":
        """Return the smaller of both, tokens and dollars apart."""
        return Cost(min(self.tokens, other.tokens), min(self.dollars, other.dollars))

    def fits(self, other: "Cost") -> bool:
        """Return whether the other is as large, in tokens and in dollars."""
        return self.tokens <= other.tokens and self.dollars <= other.dollars + _SLACK


@dataclass(frozen=True)
class Wave:
    """Calls that a way to answer makes at once.

    Attributes:
        calls: The calls.
        ahead: Those that have to follow, as far as they can be told; empty: this is the closing call.
        rounds: How many waves there are still to be, this one included.
    """

    calls: tuple[Call, ...]
    ahead: tuple[Call, ...] = ()
    rounds: int = 1


Strategy: TypeAlias = Generator[Wave, list[Reply] | None, None]
"""Yields waves and gets their replies; None: a wave is not paid for, and the closing call has to follow."""


class Pool:
    """What a budget has left, for a number of questions that may run at once.

    Attributes:
        unspent: What has not been used.
        kept: Of it, what open purses keep for their calls.
        promised: What the cheapest ways of the open purses' questions may cost.
        to_come: What those of questions without a purse so far may cost.
        busy: How many open purses do not wait for the others.
        slowest: Seconds that the slowest call took.
    """

    def __init__(self, budget: Budget | None) -> None:
        limits = budget or Budget()
        self.unspent = Cost(*(math.inf if limit is None else limit for limit in (limits.tokens, limits.dollars)))
        self.deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        self.kept = self.promised = self.to_come = Cost()
        self.busy = 0
        self.slowest = 0.0
        self.lock = threading.Lock()
        self.limits_dollars = limits.dollars is not None
        self.limits_replies = self.limits_dollars or limits.tokens is not None

    def expect(self, cheapest: Call) -> None:
        """Count in a question to come, with the call that answers it at the least cost."""
        self.to_come += cost_of(hold(cheapest))


class Purse:
    """What one question may use of a pool; to be closed in the end."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._kept = self._promise = self._under_way = Cost()
        self._waits = False
        with pool.lock:
            pool.busy += 1

    def hold(self, call: Call) -> Held:
        """Return the call, held to the most it may use; as it is where that does not matter."""
        return hold(call) if self.pool.limits_replies else Held(call)

    def open(self, cheapest: Call) -> Stage[None]:
        """Keep what the cheapest way to answer may cost, or raise a BudgetExceededError."""
        self._promise = cost_of(self.hold(cheapest))
        with self.pool.lock:
            self.pool.promised += self._promise
            self.pool.to_come = (self.pool.to_come - self._promise).at_least(Cost())
        if shortage := (yield from self._claim(self._promise, rounds=1)):
            raise _refused(shortage)

    def walk(self, ways: Iterable[tuple[Name, Strategy]]) -> Stage[tuple[Name, Held, list[str]]]:
        """Make the calls of the first way that is paid for, but for its closing one; the cheapest comes last.

        Returns:
            The way's name, its closing call, and in words what was not paid for.

        Raises:
            BudgetExceededError: None is.
        """
        cuts: list[str] = []
        for name, strategy in ways:
            wave, has_begun = next(strategy), False
            while True:
                now = [self.hold(call) for call in wave.calls]
                after = sum((cost_of(self.hold(call)) for call in wave.ahead), Cost())
                cost = sum(map(cost_of, now), after.at_least(self._promise) if wave.ahead else Cost())
                if shortage := (yield from self._claim(cost, wave.rounds)):
                    if not (has_begun and wave.ahead):
                        break
                    cuts.append(f"the budget does not pay for more subquestions: with the next, {shortage}")
                    wave = strategy.send(None)
                    continue
                self._under_way = sum(map(cost_of, now), Cost())
                if not wave.ahead:
                    return name, now[0], cuts
                replies = yield [held.call for held in now]
                for held, reply in zip(now, replies, strict=True):
                    self.settle(held, reply)
                wave, has_begun = strategy.send(replies), True
            if has_begun or not cuts:
                cuts.append(f"the budget does not pay for {name}: {shortage}")
        raise _refused(shortage)

    def spend(self, cost: Cost) -> None:
        """Take away what was used beside the solver's calls."""
        with self.pool.lock:
            self.pool.unspent -= cost

    def settle(self, held: Held, reply: Reply) -> None:
        """Replace what was claimed for a call by what it cost."""
        most, actual = cost_of(held), actual_cost(held, reply.message)
        with self.pool.lock:
            self.pool.unspent -= actual
            self.pool.kept -= most
            self.pool.slowest = max(self.pool.slowest, reply.seconds)
        self._kept -= most
        self._under_way -= most

    def close(self) -> None:
        """Give back what is left; a call that failed may be billed, and counts at the most it may have cost."""
        with self.pool.lock:
            self.pool.unspent -= self._under_way
            self.pool.kept -= self._kept
            self.pool.promised -= self._promise
            self.pool.busy -= not self._waits

    def _claim(self, cost: Cost, rounds: int) -> Stage[str]:
        """Keep so much, once it is there; return in words what is too little, where waiting for others is of no use."""
        while True:
            pool = self.pool
            with pool.lock:
                if not (shortage := self._shortage(cost, rounds)):
                    pool.kept += cost - self._kept
                    self._kept = cost
                others_are_busy = pool.busy > (0 if self._waits else 1)
                waits = bool(shortage) and others_are_busy and self._may_come(cost, rounds)
                pool.busy += self._waits - waits
                self._waits = waits
            if not waits:
                return shortage
            yield Pause()

    def _shortage(self, cost: Cost, rounds: int) -> str:
        pool = self.pool
        if pool.deadline is not None:
            seconds, time_left = rounds * pool.slowest, pool.deadline - time.monotonic()
            if seconds >= time_left:
                return f"it may take {seconds:.1f} seconds, and {max(0.0, time_left):.1f} are left"
        left = self._own(pool.unspent - (pool.kept - self._kept))
        if cost.fits(left):
            return ""
        if cost.tokens > left.tokens:
            return f"it may take {cost.tokens:,} tokens, and {max(0, math.floor(left.tokens)):,} are left"
        return f"it may take ${cost.dollars:.6f}, and ${max(0.0, left.dollars):.6f} is left"

    def _may_come(self, cost: Cost, rounds: int) -> bool:
        """Return whether it would be there if the others needed the cheapest way alone."""
        pool = self.pool
        is_late = pool.deadline is not None and rounds * pool.slowest >= pool.deadline - time.monotonic()
        return not is_late and cost.fits(self._own(pool.unspent - (pool.promised - self._promise)))

    def _own(self, left: Cost) -> Cost:
        # What is kept for questions to come is not for a better way, but does not stand in that of the cheapest.
        return (left - self.pool.to_come).at_least(left.at_most(self._kept.at_least(self._promise)))


def actual_cost(held: Held, message: AIMessage) -> Cost:
    """Return what a call did cost; where the model does not report it, the most its reply can stand for."""
    usage = StageUsage.of_call(message, seconds=0.0, price=held.call.price)
    if usage.unmetered_calls:
        written = most_tokens(str(message.content))
        return cost_of(held, min(written, held.output_tokens) if held.is_held else written)
    return Cost(usage.input_tokens + usage.output_tokens, usage.dollars or 0.0)


def cost_of(held: Held, written: int | None = None) -> Cost:
    """Return the most that a call may cost, where its reply has so many tokens; None: as many as it may have."""
    price, read = held.call.price, held.input_tokens
    output_tokens = held.output_tokens if written is None else written
    if price is None:
        return Cost(read + output_tokens)
    # A provider may charge more for a prompt that it puts in its cache.
    cached = read if (price.cached_input or 0) > price.input else 0
    return Cost(read + output_tokens, price.cost(input_tokens=read, cached_tokens=cached, output_tokens=output_tokens))


def _refused(shortage: str) -> BudgetExceededError:
    return BudgetExceededError(
        f"The budget does not pay for the cheapest way to answer: {shortage} for this question. Raise the budget, hold "
        "the solver to shorter replies (its max_tokens), or ask fewer questions in one batch."
    )
