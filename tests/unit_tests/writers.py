"""Solvers that write replies of given lengths and count what they cost, and chains over them."""

import asyncio
import threading
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from pydantic import Field, PrivateAttr

from langchain_divconq.budget import Budget
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import BudgetExceededError
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Question, Solution
from langchain_divconq.usage import Price
from tests.unit_tests.fakes import QUESTION, SUBQUESTIONS

PRICE = Price(input=2.0, output=10.0, cached_input=0.5)
PRICES = (PRICE, Price(input=0, output=0), Price(input=1.0, output=0, cached_input=4.0), Price(input=0, output=3.0))
PLANS = (
    (),
    *(SUBQUESTIONS[:1], SUBQUESTIONS),
    ("When was the bridge opened?", "When was the mill built?", "Which is older, #1 or #2?"),
)


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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
