"""The first stage: question → Decomposition, over any chat model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from langchain_divconq.calls import Stage
from langchain_divconq.checks import fault
from langchain_divconq.confidence import StudentCard, load_card, plan_features, token_logprobs
from langchain_divconq.drafts import Draft, no_decomposition_probability
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.grammar import DEFAULT_CAP, check_cap
from langchain_divconq.guard import reason_to_leave_whole
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.messages import check_ranges
from langchain_divconq.plans import asks, clean_plan
from langchain_divconq.prompts import DEMONSTRATION, PromptStyle, decomposition_prompt
from langchain_divconq.runnable import StageRunnable
from langchain_divconq.students import bundled_model, decomposer_model, served_card, with_shipped_adapter
from langchain_divconq.types import QUESTION_SCHEMA, Decomposition, Question, QuestionInput
from langchain_divconq.unwrap import models
from langchain_divconq.usage import Price

_STUDENTS_BEAMS = 4
_OTHERS = StudentCard(languages=())  # nothing is known of what another model was taught


def check_gate(value: "Gate") -> "Gate":
    """Return a gate as it is. Raises a ConfigurationError where it is no gate."""
    if value not in ("always", "never") and not (isinstance(value, (int, float)) and 0 <= value <= 1):
        raise ConfigurationError(f'gate is {value}; it must be "always", "never" or a probability from 0 to 1.')
    return value


def _check_confidence(value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"min_confidence is {value}; it must be a probability from 0 to 1.")
    return value


def _check_beams(value: int | None) -> int | None:
    check_ranges({"num_beams": value})
    return value


def _as_model(value: object) -> object:
    if isinstance(value, (str, Path)):
        return decomposer_model(value)
    return with_shipped_adapter(value) if isinstance(value, Runnable) else value


Gate: TypeAlias = Annotated[Literal["always", "never"] | float, AfterValidator(check_gate)]
"""When a question is divided: always, never, or unless the probability that it needs none reaches this."""


class Decomposer(StageRunnable[QuestionInput, Decomposition]):
    """Breaks a question into subquestions.

    What holds no two facts never reaches the model, and what it writes is checked: greetings, orders and single facts
    stay whole, and so does a question whose plan makes up names, loses a part, or is about something else. A plan that
    fails is asked for once more. The decomposition's `reason` says what happened.

    Over a `ChatGGUF`, or a llama.cpp server that is said to be one, decoding is held to the grammar of a plan, so every
    reply parses. Any other chat model is asked in words and its reply is read leniently.

    Example:
        ```python
        decomposition = Decomposer("small").invoke("Who is the spouse of the author of Emma?")
        print(decomposition.subquestions, decomposition.reason)
        ```

    Raises:
        DecompositionError: The model wrote no usable plan.
        ContextLengthError: The question does not fit (a `ChatGGUF`'s; others raise core's ContextOverflowError).
        InvalidQuestionError: The input is no question.
    """

    model: Annotated[Runnable[Any, Any], BeforeValidator(_as_model)] = Field(default_factory=bundled_model)
    """What writes the plan: "small" (the default) or "medium", which come with the library and run in process, the
    path of a GGUF, "provider:model", or any chat model. May be given without its name."""

    max_subquestions: Annotated[int, AfterValidator(check_cap)] = DEFAULT_CAP
    """Most subquestions in a plan, from 1 to 9."""

    gate: Gate = 0.75
    """0.75 leaves the question whole when the model is at least 75% sure that it needs no subquestions. "always"
    divides whatever the model thinks of that, "never" asks no model at all. A model that reports no
    log-probabilities is taken at its word."""

    min_confidence: Annotated[float, AfterValidator(_check_confidence)] = 0.2
    """Plans of lower confidence are dropped, from 0 to 1; see `Decomposition.confidence`. Those that have none are
    kept."""

    num_beams: Annotated[int | None, AfterValidator(_check_beams)] = None
    """How many beginnings of a plan are followed side by side (beam search), from 1 to 16; 1 takes the likeliest token
    each time, which is faster and not as good. None: 4 for a student of ours, 1 for other models. By llama-cpp-python
    in process, or behind `divconq serve`; elsewhere it makes no difference."""

    fallback: "Decomposer | None" = None
    """Who divides a question that this decomposer is not sure of: a `Decomposer`, or what one is made of. It is asked
    where a plan was dropped, and where the question is in a language this one was not taught."""

    prompt_style: PromptStyle | None = None
    """How the model is asked: "student" (as this project's recipe teaches its students), "zero_shot" or "one_shot"
    (with one worked demonstration); None: "student" for a `ChatGGUF` with an adapter, else "one_shot"."""

    llama_server: bool = False
    """Whether the model is a `ChatOpenAI` in front of llama.cpp's server (`divconq serve` or `llama-server`), which
    takes a grammar in the body of a request. Other servers may refuse one."""

    price: Price | None = None
    """What the model costs; None: not counted in dollars."""

    def __init__(self, model: Runnable[Any, Any] | str | Path | None = None, **fields: Any) -> None:
        """Make a decomposer of a model, by name or as it is, and the fields below."""
        given: dict[str, Any] = fields if model is None else {"model": model, **fields}
        super().__init__(**given)

    @field_validator("fallback", mode="before")
    @classmethod
    def _made(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, Decomposer) else cls(value)

    @property
    def InputType(self) -> Any:  # noqa: N802  # the name is langchain-core's
        """What a question may come as, in types a schema can show."""
        return QUESTION_SCHEMA

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of the model."""
        return self.model.config_specs

    def stage(self, value: QuestionInput, options: dict[str, Any]) -> Stage[Decomposition]:
        """Divide one question."""
        question = Question.from_input(value)
        if self.gate == "never":
            return Decomposition(question=question, reason="the gate is 'never'")
        decomposition, is_unsure = yield from self._divide(question, options)
        if self.fallback is None or not is_unsure:
            return decomposition
        other = yield from self.fallback.stage(question, {})
        reason = f"{decomposition.reason}; the fallback was asked" + (f": {other.reason}" if other.reason else "")
        return other.model_copy(update={"usage": decomposition.usage + other.usage, "reason": reason})

    def _divide(self, question: Question, options: dict[str, Any]) -> Stage[tuple[Decomposition, bool]]:
        """Return this decomposer's own decomposition, and whether another may do better."""
        gguf = _chat_gguf(self.model)
        card = self._card(gguf)
        if reason := reason_to_leave_whole(question, english_only=card.languages == ("en",)):
            speaks_english = reason_to_leave_whole(question, english_only=False) is not None
            return Decomposition(question=question, reason=reason), not speaks_english
        draft = self._draft(question, options, gguf)
        [reply] = yield [draft.call(allow_none=self.gate != "always")]
        written = draft.take(reply)
        draft.probability = probability = no_decomposition_probability(draft.message)
        if not isinstance(self.gate, str) and probability is not None:
            if probability >= self.gate:
                reason = f"the probability that no decomposition is needed is {probability:.2f} (gate {self.gate:g})"
                return draft.whole(reason), False
            if not written and draft.has_grammar:
                # The sentinel was likelier than a plan, but not by enough for this gate: ask for a plan alone.
                [reply] = yield [draft.call(allow_none=False)]
                written = draft.take(reply)
        if not written:
            return draft.whole("the decomposer says that no decomposition is needed"), False
        plan, reason = self._checked(written, draft)
        if reason and draft.has_grammar:
            [reply] = yield [draft.call(allow_none=False, again=True)]
            written = draft.take(reply)
            plan, reason = self._checked(written, draft)
        if reason:
            return draft.whole(reason), True
        return self._finished(draft, written, plan, card)

    def _checked(self, written: Sequence[str], draft: Draft) -> tuple[tuple[str, ...], str | None]:
        """Return what is kept of a plan, and what speaks against it."""
        plan = clean_plan(written, draft.question, self.max_subquestions)
        if not plan:
            return plan, "the plan only restates the question" if any(map(asks, written)) else "the plan asks nothing"
        return plan, fault(plan, draft.question, "\n".join(DEMONSTRATION) if draft.is_shown_a_demonstration else "")

    def _finished(
        self, draft: Draft, written: Sequence[str], plan: tuple[str, ...], card: StudentCard
    ) -> tuple[Decomposition, bool]:
        confidence = None
        if self.llama_server and self.prompt_style == "student":
            card = served_card(draft.message)
        if card.calibration is not None:
            logprobs = token_logprobs(draft.message)
            confidence = card.calibration.confidence(plan_features(draft.question, plan, draft.probability, logprobs))
            if confidence < self.min_confidence:
                reason = f"the confidence in the plan is {confidence:.2f} (min_confidence {self.min_confidence:g})"
                return draft.whole(reason), True
        removed = len(written) - len(plan)
        reason = f"{removed} of {len(written)} subquestions were repeats, restatements or beyond the cap"
        return draft.divided(plan, confidence, reason if removed else ""), False

    @property
    def beams(self) -> int:
        """How many beginnings of a plan are followed: `num_beams`, or what None stands for."""
        return self.num_beams or (_STUDENTS_BEAMS if self._style(_chat_gguf(self.model)) == "student" else 1)

    def _style(self, gguf: ChatGGUF | None) -> PromptStyle:
        has_adapter = gguf is not None and gguf.adapter_path is not None
        return self.prompt_style or ("student" if has_adapter else "one_shot")

    def _draft(self, question: Question, options: dict[str, Any], gguf: ChatGGUF | None) -> Draft:
        style = self._style(gguf)
        return Draft(
            question=question,
            model=self.model,
            gguf=gguf,
            llama_server=self.llama_server,
            prompt=decomposition_prompt(question, self.max_subquestions, style),
            max_subquestions=self.max_subquestions,
            num_beams=self.beams,
            is_shown_a_demonstration=style == "one_shot",
            options=options,
            price=self.price,
        )

    def _card(self, gguf: ChatGGUF | None) -> StudentCard:
        """Return what is known of the model: of a student its card, of any other nothing."""
        if gguf is not None and gguf.adapter_path is not None:
            return load_card(gguf.adapter_path.expanduser())
        return StudentCard() if self.prompt_style == "student" else _OTHERS


def _chat_gguf(model: Runnable[Any, Any]) -> ChatGGUF | None:
    """Return the ChatGGUF that a model is, fallbacks included; None: another model may answer."""
    found = [one for one, _ in models(model) if isinstance(one, ChatGGUF)]
    return found[0] if len(found) == len(list(models(model))) else None
