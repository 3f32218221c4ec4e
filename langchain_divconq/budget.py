"""Budgets: what a call may cost, held to by checking before each of the solver's calls what that may cost at most.

A ledger shares a budget among the questions of a batch: each opens an account with an equal part of what is left, may
claim more where that pays for no answer at all, and gives back what it did not use. Within an account a call is
reserved at the most it may cost and settled at what it did cost. So neither calls nor questions at once can overrun
together.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel, ConfigDict

from langchain_divconq.usage import Count, NonNegative, Price, StageUsage

# What a chat template puts around a message, and before them all (some bring a system message of their own).
_TOKENS_AROUND_A_MESSAGE = 16
_TOKENS_AROUND_A_CHAT = 64


class Budget(BaseModel):
    """What one call of the chain may cost at most; a batch is one call. None: no limit.

    Attributes:
        dollars: US dollars, which needs the solver's price. The decomposer's are counted too where it has a price.
        tokens: Tokens the solver reads and writes; what the decomposer uses is not counted.
        seconds: Seconds from the beginning of the call, decomposition included. No solver call is planned that, as
            long as the slowest so far, would end later; one under way is not cut short.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dollars: NonNegative | None = None
    tokens: Count | None = None
    seconds: NonNegative | None = None


@dataclass(frozen=True)
class Cost:
    """Tokens and dollars, as one quantity; infinite where there is no limit."""

    tokens: float = 0
    dollars: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.dollars + other.dollars)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(_minus(self.tokens, other.tokens), _minus(self.dollars, other.dollars))

    def __truediv__(self, parts: int) -> Cost:
        return Cost(self.tokens / parts, self.dollars / parts)


@dataclass(frozen=True)
class Estimate:
    """The most that one call may use.

    Attributes:
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the reply.
        is_held: Whether the model is told to write no more than that.
        most_output_tokens: What it may be told instead where more is left; 0: nothing else.
        price: What they cost; None: not counted in dollars.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    is_held: bool = False
    most_output_tokens: int = 0
    price: Price | None = None

    @property
    def cost(self) -> Cost:
        """What the call costs if it uses all of it."""
        return self._cost(self.output_tokens)

    def actual(self, message: AIMessage) -> Cost:
        """Return what the call did cost; where the model does not report it, the most its reply can stand for."""
        usage = StageUsage.of_call(message, seconds=0.0, price=self.price)
        if usage.unmetered_calls:
            written = _most_tokens(str(message.content))
            return self._cost(min(written, self.output_tokens) if self.is_held else written)
        return Cost(usage.input_tokens + usage.output_tokens, usage.dollars or 0.0)

    def _cost(self, output_tokens: int) -> Cost:
        tokens = self.input_tokens + output_tokens
        if self.price is None:
            return Cost(tokens)
        # A provider may charge more for a prompt that it puts in its cache.
        cached = self.input_tokens if (self.price.cached_input or 0) > self.price.input else 0
        dollars = self.price.cost(input_tokens=self.input_tokens, cached_tokens=cached, output_tokens=output_tokens)
        return Cost(tokens, dollars)


class Account:
    """One question's part of a budget: what is left of it, and how long calls take.

    Attributes:
        left: What may still be used; less than nothing after a reply longer than the model was allowed.
    """

    def __init__(self, ledger: Ledger, left: Cost, deadline: float | None, slowest: float) -> None:
        self.left = left
        self.slowest = slowest
        self._ledger = ledger
        self._deadline = deadline

    @property
    def limits_dollars(self) -> bool:
        """Whether dollars are limited."""
        return math.isfinite(self.left.dollars)

    @property
    def limits_replies(self) -> bool:
        """Whether it matters how much is written."""
        return self.limits_dollars or math.isfinite(self.left.tokens)

    def shortage(self, cost: Cost, rounds: int) -> str:
        """Return in words what is too little for calls that may cost so much; empty: there is enough.

        Args:
            cost: The most they may cost, all together.
            rounds: How many of them wait for one another.
        """
        if cost.tokens > self.left.tokens:
            return f"it may take {cost.tokens:,} tokens, and {max(0, math.floor(self.left.tokens)):,} are left"
        if cost.dollars > self.left.dollars:
            return f"it may take ${cost.dollars:.6f}, and ${max(0.0, self.left.dollars):.6f} is left"
        if self._deadline is not None:
            seconds, time_left = rounds * self.slowest, self._deadline - time.monotonic()
            if seconds >= time_left:
                return f"it may take {seconds:.1f} seconds, and {max(0.0, time_left):.1f} are left"
        return ""

    def claim(self, cost: Cost) -> None:
        """Take from what no question holds, if it is there, what is missing for such a cost."""
        missing = Cost(max(0.0, cost.tokens - self.left.tokens), max(0.0, cost.dollars - self.left.dollars))
        if self._ledger.grant(missing):
            self.left += missing

    def spend(self, cost: Cost) -> None:
        """Take away what was, or may be, used."""
        self.left -= cost

    def settle(self, estimate: Estimate, message: AIMessage, seconds: float) -> None:
        """Replace what was reserved for a call by what it cost; one that failed may be billed, and stays reserved."""
        self.left = self.left + estimate.cost - estimate.actual(message)
        self.slowest = max(self.slowest, seconds)


class Ledger:
    """What a budget has left, for a number of questions that may run at once."""

    def __init__(self, budget: Budget | None, questions: int = 1) -> None:
        limits = budget or Budget()
        self._left = Cost(*(math.inf if limit is None else limit for limit in (limits.tokens, limits.dollars)))
        self._deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        self._to_come = questions
        self._slowest = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def account(self) -> Iterator[Account]:
        """Open the next question's account, and take back what is left of it in the end."""
        with self._lock:
            account = Account(self, self._left / max(1, self._to_come), self._deadline, self._slowest)
            self._left -= account.left
            self._to_come -= 1
        try:
            yield account
        finally:
            with self._lock:
                self._left += account.left
                self._slowest = max(self._slowest, account.slowest)

    def grant(self, cost: Cost) -> bool:
        """Return whether so much is held by no question, and take it."""
        with self._lock:
            is_there = cost.tokens <= self._left.tokens and cost.dollars <= self._left.dollars
            self._left -= cost if is_there else Cost()
            return is_there


def unlimited() -> Account:
    """Return an account that pays for everything."""
    return Account(Ledger(None), Cost(math.inf, math.inf), deadline=None, slowest=0.0)


def prompt_tokens(messages: Sequence[BaseMessage]) -> int:
    """Return the most tokens that a prompt can have, whatever the model's tokenizer: one a byte, and the template's.

    What a message refers to without holding it, such as a picture's address, is not counted.
    """
    return _TOKENS_AROUND_A_CHAT + sum(_message_tokens(message) for message in messages)


def _message_tokens(message: BaseMessage) -> int:
    calls = getattr(message, "tool_calls", None) or ""
    return _TOKENS_AROUND_A_MESSAGE + _most_tokens(f"{message.content}{calls}")


def _most_tokens(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _minus(left: float, right: float) -> float:
    return left if math.isinf(left) else left - right
