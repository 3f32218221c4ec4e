"""The last call of a solution, and the Solution in its reply."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_divconq.budget import Account
from langchain_divconq.calls import Call, Reply
from langchain_divconq.parsing import parse_answer
from langchain_divconq.types import Decomposition, Mode, SingleStage, Solution, Subanswer
from langchain_divconq.usage import Price, StageUsage, Usage


@dataclass(frozen=True)
class Findings:
    """What was found before the closing call.

    Attributes:
        subanswers: Answers found by earlier calls; None: the closing call answers all, or there are no subquestions.
        usage: What the earlier calls used.
        usage_metadata: The same as LangChain counts it; None: there were none, or they reported nothing.
        cut: In words, why subquestions were left out; empty where none was.
    """

    subanswers: tuple[Subanswer, ...] | None = None
    usage: StageUsage = field(default_factory=StageUsage)
    usage_metadata: UsageMetadata | None = None
    cut: str = ""


@dataclass(frozen=True)
class Closing:
    """The last call of a solution, ready to be made, with what was found before it.

    Attributes:
        decomposition: What is solved.
        call: The call whose reply holds the final answer.
        mode: The mode that runs.
        reason: Why.
        found: What earlier calls found.
        price: What the model costs; None: not counted in dollars.
        account: What the call has been reserved in.
    """

    decomposition: Decomposition
    call: Call
    mode: Mode | SingleStage
    reason: str
    found: Findings
    price: Price | None
    account: Account

    def finish(self, reply: Reply) -> Solution:
        """Return the solution in the closing call's reply, once that is paid for."""
        self.account.settle(self.call.estimate, reply.message, reply.seconds)
        text = reply.message.text
        return Solution(
            answer=parse_answer(text),
            text=text,
            decomposition=self.decomposition,
            subanswers=self.found.subanswers,
            mode=self.mode,
            reason=self.reason,
            usage=Usage(
                decompose=self.decomposition.usage,
                solve=self.found.usage + StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price),
            ),
        )


def timed(message: AIMessage, start: float) -> Reply:
    """Return the reply that began at `start` (by `time.perf_counter`) and has just ended."""
    return Reply(message, time.perf_counter() - start)
