"""The first stage: question → Decomposition, over any chat model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import ConfigDict, Field, field_validator

from langchain_divconq.calls import Call, Limiter, Stage, adrive, drive
from langchain_divconq.chat_models import ChatGGUF
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.grammar import MAX_TOKENS, check_cap, decomposition_grammar
from langchain_divconq.parsing import clean_plan, parse_plan
from langchain_divconq.prompts import NO_DECOMPOSITION, PromptStyle, decomposition_prompt
from langchain_divconq.runnable import Dumpable
from langchain_divconq.types import QUESTION_SCHEMA, Decomposition, Question, QuestionInput
from langchain_divconq.unwrap import models
from langchain_divconq.usage import Price, StageUsage
from langchain_divconq.weights import default_adapter

Gate: TypeAlias = Literal["always", "never"] | float
"""When a question is divided: always, never, or unless the probability that it needs none reaches this."""

_FIRST_SUBQUESTION = "1."
# Enough to see the sentinel's first token beside the plan's even where the model thinks little of either.
_TOP_LOGPROBS = 20
# What providers call the end of a reply, and an end at the token limit: OpenAI, Gemini; Anthropic; Bedrock; Ollama.
_END_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
_CUT = ("length", "max_tokens")


def bundled_model() -> ChatGGUF:
    """Return the model that comes with the library: the default weights with the shipped adapter, if there is one."""
    return ChatGGUF(adapter_path=default_adapter())


class Decomposer(Dumpable, RunnableSerializable[QuestionInput, Decomposition]):
    """Breaks a question into subquestions.

    Over a `ChatGGUF`, or a llama.cpp server that is said to be one, decoding is held to the grammar of a plan, so every
    reply parses. Any other chat model is asked in words and its reply is read leniently.

    Attributes:
        model: The chat model that writes the plan; default: the bundled weights, in process.
        max_subquestions: Most subquestions in a plan, from 1 to 9. Three did best in the paper (table 10).
        gate: "always" divides, "never" does not ask the model at all, and a number from 0 to 1 divides unless the
            model's own probability that no decomposition is needed is at least this. A model that reports no
            log-probabilities is taken at its word.
        prompt_style: How the model is asked: "student" (as this project's recipe teaches its students), "zero_shot" or
            "one_shot" (with one worked demonstration); None: "student" for a `ChatGGUF` with an adapter, else
            "one_shot".
        llama_server: Whether the model is a `ChatOpenAI` in front of llama.cpp's server (`divconq serve` or
            `llama-server`), which takes a grammar in the body of a request. Other servers may refuse one.
        price: What the model costs; None: not counted in dollars.

    Raises:
        DecompositionError: The model wrote no usable plan.
        ContextLengthError: The question does not fit (a `ChatGGUF`'s; others raise core's ContextOverflowError).
        InvalidQuestionError: The input is no question.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Runnable[Any, Any] = Field(default_factory=bundled_model)
    max_subquestions: int = 3
    gate: Gate = 0.75
    prompt_style: PromptStyle | None = None
    llama_server: bool = False
    price: Price | None = None

    @field_validator("max_subquestions")
    @classmethod
    def _check_cap(cls, value: int) -> int:
        check_cap(value)
        return value

    @field_validator("gate")
    @classmethod
    def _check_gate(cls, value: Gate) -> Gate:
        if not isinstance(value, str) and not 0 <= value <= 1:
            raise ConfigurationError(f'gate is {value}; it must be "always", "never" or a probability from 0 to 1.')
        return value

    @property
    def InputType(self) -> Any:  # noqa: N802  # the name is langchain-core's
        """What a question may come as, in types a schema can show."""
        return QUESTION_SCHEMA

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of the model."""
        return self.model.config_specs

    def invoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> Decomposition:
        """Return the decomposition of one question."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> Decomposition:
        """Return the decomposition of one question, without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, value: QuestionInput, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Decomposition:
        config = patch_config(config, callbacks=run_manager.get_child())
        return drive(self._stage(Question.from_input(value), kwargs), config, Limiter(None))

    async def _ainvoke(
        self, value: QuestionInput, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Decomposition:
        config = patch_config(config, callbacks=run_manager.get_child())
        return await adrive(self._stage(Question.from_input(value), kwargs), config, Limiter(None))

    def _stage(self, question: Question, options: dict[str, Any]) -> Stage[Decomposition]:
        if self.gate == "never":
            return Decomposition(question=question, reason="the gate is 'never'")
        gguf = _chat_gguf(self.model)
        has_grammar = gguf is not None or self.llama_server
        has_adapter = gguf is not None and gguf.adapter_path is not None
        style = self.prompt_style or ("student" if has_adapter else "one_shot")
        prompt = decomposition_prompt(question, self.max_subquestions, style)

        def call(*, allow_none: bool) -> Call:
            constraint = self._constraint(allow_none=allow_none, in_body=gguf is None) if has_grammar else {}
            return Call(self.model, prompt, "divconq:plan", options={**constraint, **options})

        [reply] = yield [call(allow_none=self.gate != "always")]
        usage = StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price)
        probability = no_decomposition_probability(reply.message)
        subquestions = _read_plan(reply.message)
        if not isinstance(self.gate, str) and probability is not None:
            if probability >= self.gate:
                reason = f"the probability that no decomposition is needed is {probability:.2f} (gate {self.gate:g})"
                return _undivided(question, reply.message, usage, probability, reason)
            if not subquestions and has_grammar:
                # The sentinel was likelier than a plan, but not by enough for this gate: ask for a plan alone.
                [reply] = yield [call(allow_none=False)]
                usage += StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price)
                subquestions = _read_plan(reply.message)
        if not subquestions:
            reason = "the decomposer says that no decomposition is needed"
            return _undivided(question, reply.message, usage, probability, reason)
        kept = clean_plan(subquestions, question, self.max_subquestions)
        if not kept:
            return _undivided(question, reply.message, usage, probability, "the plan only restates the question")
        removed = len(subquestions) - len(kept)
        return Decomposition(
            question=question,
            subquestions=kept,
            no_decomposition_probability=probability,
            reason=f"{removed} of {len(subquestions)} subquestions were repeats, restatements or beyond the cap"
            if removed
            else "",
            text=reply.message.text,
            usage=usage,
        )

    def _constraint(self, *, allow_none: bool, in_body: bool) -> dict[str, Any]:
        grammar = {"grammar": decomposition_grammar(self.max_subquestions, allow_none=allow_none)}
        return {
            **({"extra_body": grammar} if in_body else grammar),
            "max_tokens": MAX_TOKENS * self.max_subquestions,
            "logprobs": True,
            "top_logprobs": _TOP_LOGPROBS,
        }


def no_decomposition_probability(message: AIMessage) -> float | None:
    """Return how likely the model held the sentinel, from 0 to 1, against a plan; None without log-probabilities.

    Read from the first token: the probability of tokens that begin the sentinel, as a share of those that begin the
    sentinel or a plan. Log-probabilities are expected in the OpenAI shape, which `ChatGGUF` and `ChatOpenAI` both use;
    in another shape they count as none.
    """
    try:
        first = message.response_metadata["logprobs"]["content"][0]
        alternatives = [*(first.get("top_logprobs") or []), first]
        tokens = {alternative["token"]: alternative["logprob"] for alternative in alternatives}
        none, plan = (_mass(tokens, beginning) for beginning in (NO_DECOMPOSITION, _FIRST_SUBQUESTION))
    except (AttributeError, LookupError, TypeError):
        return None
    return none / (none + plan) if none + plan > 0 else None


def _mass(logprobs: Mapping[str, float], beginning: str) -> float:
    return sum(
        math.exp(logprob)
        for token, logprob in logprobs.items()
        if (start := token.strip()) and (beginning.startswith(start) or start.startswith(beginning))
    )


def _read_plan(message: AIMessage) -> tuple[str, ...]:
    """Return the subquestions of a reply; a line that was cut at the token limit does not count."""
    text = str(message.text)
    if any(str(message.response_metadata.get(key)).lower() in _CUT for key in _END_KEYS):
        text = text[: text.rfind("\n") + 1]
    return parse_plan(text)


def _undivided(
    question: Question, message: AIMessage, usage: StageUsage, probability: float | None, reason: str
) -> Decomposition:
    return Decomposition(
        question=question, no_decomposition_probability=probability, reason=reason, text=message.text, usage=usage
    )


def _chat_gguf(model: Runnable[Any, Any]) -> ChatGGUF | None:
    """Return the ChatGGUF that a model is, fallbacks included; None: another model may answer."""
    found = [one for one, _ in models(model) if isinstance(one, ChatGGUF)]
    return found[0] if len(found) == len(list(models(model))) else None
