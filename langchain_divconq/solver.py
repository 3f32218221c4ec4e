"""The second stage: Decomposition → Solution, with any chat model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from langchain_divconq.calls import Call, Limiter, Reply, Stage, acall_model, adrive, call_model, drive
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.parsing import parse_answer, parse_subanswers
from langchain_divconq.prompts import (
    ANSWER_MARKER,
    closing_prompt,
    fused_prompt,
    single_stage_prompt,
    subquestion_prompt,
)
from langchain_divconq.types import (
    Decomposition,
    Mode,
    SingleStage,
    Solution,
    Subanswer,
    fill_references,
    references,
)
from langchain_divconq.usage import Price, StageUsage, Usage


class FinalAnswer(BaseModel):
    """The working and the final answer."""

    working: str = Field(description="The reasoning that leads to the answer, step by step.")
    answer: str = Field(description="The final answer alone, as short as possible.")


@dataclass(frozen=True)
class Closing:
    """The last call of a solution, ready to be made, with what was found before it.

    Attributes:
        call: The call whose reply holds the final answer.
        mode: The mode that runs.
        reason: Why.
        subanswers: Answers found by earlier calls; None: the closing call answers all, or there are no subquestions.
        usage: What the earlier calls used.
        usage_metadata: The same as LangChain counts it; None: there were none, or they reported nothing.
    """

    decomposition: Decomposition
    call: Call
    mode: Mode | SingleStage
    reason: str
    subanswers: tuple[Subanswer, ...] | None
    usage: StageUsage
    usage_metadata: UsageMetadata | None
    price: Price | None

    def finish(self, reply: Reply) -> Solution:
        """Return the solution in the closing call's reply."""
        text = reply.message.text
        subanswers = self.subanswers
        if self.mode == "fused" and (parts := parse_subanswers(text, len(self.decomposition.subquestions))) is not None:
            pairs = zip(self.decomposition.subquestions, parts, strict=True)
            subanswers = tuple(Subanswer(subquestion=asked, answer=parse_answer(part) or part) for asked, part in pairs)
        return Solution(
            answer=parse_answer(text),
            text=text,
            decomposition=self.decomposition,
            subanswers=subanswers,
            mode=self.mode,
            reason=self.reason,
            usage=Usage(
                decompose=self.decomposition.usage,
                solve=self.usage + StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price),
            ),
        )


class Solver(RunnableSerializable[Decomposition, Solution]):
    """Answers a question through its subquestions.

    Attributes:
        model: Any chat model, or a Runnable that takes messages and returns a message or text.
        mode: "fused" asks everything in one call, as the paper does; "sequential" asks one subquestion after another,
            showing the earlier answers; "parallel" asks those at once that need no other's answer. The last two fill
            references in and end with one closing call; a subquestion that needs an answer nobody found is not asked.
        single_stage: How a question without subquestions is asked: "step_by_step" or "direct".
        structured: Whether the final answer is asked for as structured output (the model must support
            `with_structured_output`) instead of being read from the text.
        price: What the model costs; None: not counted in dollars.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Runnable[Any, Any]
    mode: Mode = "fused"
    single_stage: SingleStage = "step_by_step"
    structured: bool = False
    price: Price | None = None

    @model_validator(mode="after")
    def _can_structure(self) -> Solver:
        if self.structured and not hasattr(self.model, "with_structured_output"):
            raise ConfigurationError(
                f"structured=True needs a model with with_structured_output; {type(self.model).__name__} has none. "
                "Pass the chat model itself, or structured=False."
            )
        return self

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of the model."""
        return self.model.config_specs

    def invoke(self, input: Decomposition, config: RunnableConfig | None = None, **kwargs: Any) -> Solution:
        """Return the solution of one decomposed question."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Decomposition, config: RunnableConfig | None = None, **kwargs: Any) -> Solution:
        """Return the solution of one decomposed question, without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, value: Decomposition, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Solution:
        limiter = Limiter(config.get("max_concurrency"))
        config = patch_config(config, callbacks=run_manager.get_child())
        closing = drive(self.stage(value, kwargs), config, limiter)
        return closing.finish(call_model(closing.call, config, limiter))

    async def _ainvoke(
        self, value: Decomposition, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Solution:
        limiter = Limiter(config.get("max_concurrency"))
        config = patch_config(config, callbacks=run_manager.get_child())
        closing = await adrive(self.stage(value, kwargs), config, limiter)
        return closing.finish(await acall_model(closing.call, config, limiter))

    def stage(self, decomposition: Decomposition, options: dict[str, Any]) -> Stage[Closing]:
        """Ask what has to be known before the closing call, and return that call.

        Args:
            decomposition: What to solve.
            options: Keyword arguments for every call of the model.
        """
        question, subquestions = decomposition.question, decomposition.subquestions
        closing = Closing(
            decomposition=decomposition,
            call=self._closing_call([], options),
            mode=self.mode,
            reason=decomposition.reason or f"{len(subquestions)} subquestions",
            subanswers=None,
            usage=StageUsage(),
            usage_metadata=None,
            price=self.price,
        )
        if not subquestions:
            prompt = single_stage_prompt(question, self.single_stage)
            return replace(closing, call=self._closing_call(prompt, options), mode=self.single_stage)
        if self.mode == "fused":
            return replace(closing, call=self._closing_call(fused_prompt(question, subquestions), options))

        found: dict[int, Subanswer] = {}
        usage, usage_metadata = StageUsage(), None
        for wave in _waves(subquestions) if self.mode == "parallel" else [[n] for n in range(1, len(subquestions) + 1)]:
            answers = {number: known.answer for number, known in found.items() if known.answer is not None}
            filled = {number: fill_references(subquestions[number - 1], answers) for number in wave}
            askable = [n for n in wave if all(needed in answers for needed in references(subquestions[n - 1]))]
            known = list(found.values()) if self.mode == "sequential" else []
            calls = [
                Call(
                    self.model,
                    subquestion_prompt(question, filled[number], known),
                    f"divconq:subquestion-{number}",
                    options=options,
                )
                for number in askable
            ]
            replies = (yield calls) if calls else []
            replied = {number: parse_answer(reply.message.text) for number, reply in zip(askable, replies, strict=True)}
            found.update({n: Subanswer(subquestion=filled[n], answer=replied.get(n)) for n in wave})
            for reply in replies:
                usage += StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price)
                usage_metadata = _add(usage_metadata, reply.message)

        subanswers = tuple(found[number] for number in sorted(found))
        missing = sum(subanswer.answer is None for subanswer in subanswers)
        return replace(
            closing,
            call=self._closing_call(closing_prompt(question, subanswers), options),
            reason=closing.reason + (f"; {missing} of {len(subanswers)} have no answer" if missing else ""),
            subanswers=subanswers,
            usage=usage,
            usage_metadata=usage_metadata,
        )

    def _closing_call(self, prompt: list[BaseMessage], options: dict[str, Any]) -> Call:
        model = self.model
        if self.structured:
            structured = model.with_structured_output(FinalAnswer, include_raw=True)  # type: ignore[attr-defined]  # checked by _can_structure
            model = structured | RunnableLambda(_structured_message)
        return Call(model, prompt, "divconq:solve", quiet=False, options=options)


def _waves(subquestions: Sequence[str]) -> list[list[int]]:
    """Return the subquestions' numbers grouped so that each needs answers from earlier groups alone."""
    depth: dict[int, int] = {}
    for number, subquestion in enumerate(subquestions, start=1):
        depth[number] = 1 + max((depth[needed] for needed in references(subquestion)), default=0)
    return [[n for n in depth if depth[n] == level] for level in range(1, max(depth.values()) + 1)]


def _structured_message(output: dict[str, Any]) -> AIMessage:
    """Return the model's message with the parsed answer in words; what could not be parsed stays as it was."""
    raw, parsed = output["raw"], output["parsed"]
    if not isinstance(parsed, FinalAnswer):
        return raw  # type: ignore[no-any-return]
    answer = " ".join(parsed.answer.split())
    return raw.model_copy(update={"content": f"{parsed.working}\n\n{ANSWER_MARKER} {answer}"})  # type: ignore[no-any-return]


def _add(total: UsageMetadata | None, message: AIMessage) -> UsageMetadata | None:
    return add_usage(total, message.usage_metadata) if total or message.usage_metadata else None


def timed(message: AIMessage, start: float) -> Reply:
    """Return the reply that began at `start` (by `time.perf_counter`) and has just ended."""
    return Reply(message, time.perf_counter() - start)
