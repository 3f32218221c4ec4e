"""The second stage: Decomposition → Solution, with any chat model."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from langchain_divconq.answers import parse_answer, read_reply
from langchain_divconq.budget import Cost, Pool, Purse, Strategy, Wave
from langchain_divconq.calls import Call, Reply, Stage
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.limits import Held
from langchain_divconq.llamacpp.structured import can_hold, held_to, render_json, schema_tokens
from langchain_divconq.prompts import (
    ANSWER_MARKER,
    closing_prompt,
    fused_prompt,
    single_stage_prompt,
    subquestion_prompt,
)
from langchain_divconq.runnable import StageRunnable
from langchain_divconq.subsolvers import Route, pick, subsolver_input
from langchain_divconq.types import (
    METADATA_KEY,
    Decomposition,
    Mode,
    Question,
    SingleStage,
    Solution,
    Subanswer,
)
from langchain_divconq.unwrap import is_chat_model, named_model
from langchain_divconq.usage import Price, StageUsage, Usage, add_metadata, is_cached

_NO_STRUCTURE = (
    "Structured answers need a model with with_structured_output; {} has none. Pass the chat model itself, or read the "
    "answer from the text (structured=False)."
)


class FinalAnswer(BaseModel):
    """The working and the final answer."""

    working: str = Field(description="The reasoning that leads to the answer, step by step.")
    answer: str = Field(description="The final answer alone, as short as possible.")


class Solver(StageRunnable[Decomposition, Solution]):
    """Answers a question through its subquestions.

    Example:
        ```python
        solver = Solver(model=init_chat_model("openai:gpt-5-mini"), mode="sequential")
        chain = DivideAndConquer(solver)
        ```
    """

    model: Annotated[Runnable[Any, Any], BeforeValidator(partial(named_model, "model"))]
    """Any chat model or its name ("openai:gpt-5-mini"), or a Runnable that takes messages and returns a message or
    text."""

    mode: Mode = "fused"
    """"fused" asks everything in one call, as the paper does; "sequential" asks one subquestion after another, showing
    the earlier answers; "parallel" asks those at once that need no other's answer. The last two fill references in
    and end with one closing call; a subquestion that needs an answer nobody found is not asked."""

    subsolver: Runnable[Any, Any] | Route | None = None
    """Who answers the subquestions of the last two modes instead of the model, or a function of subquestion and
    question that picks one (None: the model). A chat model is asked as the model is. Any other Runnable is given
    the subquestion alone, references filled in, as text (an agent: as its one message), and returns text, a
    message, or a state that ends with one. It gets none of a call's keyword arguments."""

    single_stage: SingleStage = "step_by_step"
    """How a question without subquestions is asked: "step_by_step" or "direct"."""

    structured: bool | type[Any] | dict[str, Any] = False
    """Whether the final answer is asked for as structured output (the model must support `with_structured_output`)
    instead of being read from the text. A schema of your own (a Pydantic class, a TypedDict, a JSON schema) makes
    the reply its JSON; `DivideAndConquer.with_structured_output` reads it."""

    price: Price | None = None
    """What the model costs; None: not counted in dollars. What a subsolver costs is not."""

    @model_validator(mode="after")
    def _go_together(self) -> "Solver":
        if self.structured and not can_hold(self.model):
            raise ConfigurationError(_NO_STRUCTURE.format(type(self.model).__name__))
        if self.subsolver is not None and self.mode == "fused":
            raise ConfigurationError(
                'A subsolver needs mode="sequential" or "parallel": "fused" asks all subquestions in one call.'
            )
        return self

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of the model and of a subsolver."""
        fixed = [self.subsolver] if isinstance(self.subsolver, Runnable) else []
        return get_unique_config_specs(spec for runnable in (self.model, *fixed) for spec in runnable.config_specs)

    def stage(self, value: Decomposition, options: dict[str, Any]) -> Stage[Solution]:
        """Answer one decomposed question; keyword arguments of a call are the model's."""
        closing = yield from self.before_closing(value, options)
        [reply] = yield [closing.held.call]
        return closing.finish(reply)

    def before_closing(
        self, decomposition: Decomposition, options: dict[str, Any], purse: Purse | None = None
    ) -> Stage["Closing"]:
        """Ask what has to be known before the closing call, and return that call.

        `options` are keyword arguments of every call of the model; without a purse there is no limit.

        Raises:
            BudgetExceededError: The purse pays for no way to answer.
        """
        purse = purse or Purse(Pool(None))
        purse.spend(Cost(dollars=decomposition.usage.dollars or 0.0))
        found = Findings()
        mode, call, cuts = yield from purse.walk(self._ways(decomposition, options, found))
        missing = sum(subanswer.answer is None for subanswer in found.subanswers or ())
        count = len(decomposition.subquestions)
        reasons = [
            decomposition.reason or f"{count} subquestions",
            *cuts,
            f"{missing} of {count} have no answer" if missing else "",
            f"the reply is held to {call.output_tokens} tokens" if call.call.is_short and call.is_held else "",
        ]
        read = parse_answer if isinstance(self.structured, bool) else _if_json
        return Closing(decomposition, call, mode, "; ".join(filter(None, reasons)), found, purse, read)

    def with_schema(self, schema: type[Any] | dict[str, Any]) -> "Solver":
        """Return this solver with final answers that are a schema's JSON; without such output, a ConfigurationError."""
        if not can_hold(self.model):
            raise ConfigurationError(_NO_STRUCTURE.format(type(self.model).__name__))
        return self.model_copy(update={"structured": schema})

    def open(self, question: Question, options: dict[str, Any], purse: Purse) -> Stage[None]:
        """Keep in the purse what the cheapest answer may cost.

        Raises:
            BudgetExceededError: There is not as much.
            ConfigurationError: The budget is in dollars, and the model has no price.
        """
        if purse.pool.limits_dollars and self.price is None:
            raise ConfigurationError(
                "A budget in dollars needs to know what the solver's model costs: Solver(model=…, price=Price(input=…, "
                "output=…)), in dollars per million tokens."
            )
        yield from purse.open(self.cheapest(question, options))

    def cheapest(self, question: Question, options: dict[str, Any]) -> Call:
        """Return the call that answers a question at the least cost: undivided, in a line."""
        call = self._closing_call(single_stage_prompt(question, "direct"), options)
        # A reply cut short would be no JSON.
        return call if call.held else replace(call, is_short=True)

    def _ways(
        self, decomposition: Decomposition, options: dict[str, Any], found: "Findings"
    ) -> Iterator[tuple[Mode | SingleStage, Strategy]]:
        """Yield the ways to answer, the one that was asked for first, the cheapest last."""
        question, subquestions = decomposition.question, decomposition.subquestions
        if subquestions and self.mode != "fused":
            yield self.mode, self._one_by_one(decomposition, options, found)
        if subquestions and found.subanswers is None:
            yield "fused", _at_once(self._closing_call(fused_prompt(question, subquestions), options))
        prompt = single_stage_prompt(question, self.single_stage)
        yield self.single_stage, _at_once(self._closing_call(prompt, options))
        yield "direct", _at_once(self.cheapest(question, options))

    def _one_by_one(self, decomposition: Decomposition, options: dict[str, Any], found: "Findings") -> Strategy:
        """Ask the subquestions, wave after wave, and then the question with what was found."""
        question, subquestions = decomposition.question, decomposition.subquestions
        waves = _waves(decomposition) if self.mode == "parallel" else [[n] for n, _ in enumerate(subquestions, start=1)]
        known = [Subanswer(subquestion=subquestion, answer=None) for subquestion in subquestions]
        # Whom a function picks is known once the references are filled in; until then it is the model.
        fixed = self.subsolver if isinstance(self.subsolver, Runnable) else None
        ahead = [self._subquestion_call(fixed, n, question, known, options) for wave in waves[1:] for n in wave]
        answers: dict[int, str] = {}
        rounds, is_paid = len(waves) + 1, True
        for wave in waves:
            for n in wave:
                filled = decomposition.filled(n, answers)
                known[n - 1] = Subanswer(subquestion=filled, answer=None)
            askable = [n for n in wave if is_paid and answers.keys() >= set(decomposition.needs(n))]
            who = [pick(self.subsolver, known[n - 1].subquestion, question) for n in askable]
            calls = [
                self._subquestion_call(one, n, question, known, options) for n, one in zip(askable, who, strict=True)
            ]
            if not calls:
                continue
            closing = self._closing_call(closing_prompt(question, known), options)
            replies = yield Wave(tuple(calls), (*ahead, closing), rounds)
            ahead, rounds, is_paid = [], 2, replies is not None
            for n, call, reply in zip(askable, calls, replies or (), strict=False):
                answer = found.add(call, reply, is_told=call.model is self.model or is_chat_model(call.model))
                known[n - 1] = known[n - 1].model_copy(update={"answer": answer})
                answers |= {} if answer is None else {n: answer}
        found.subanswers = tuple(known)
        yield Wave((self._closing_call(closing_prompt(question, known), options),))

    def _subquestion_call(
        self,
        subsolver: Runnable[Any, Any] | None,
        number: int,
        question: Question,
        known: Sequence[Subanswer],
        options: dict[str, Any],
    ) -> Call:
        name, subquestion = f"divconq:subquestion-{number}", known[number - 1].subquestion
        earlier = known[: number - 1] if self.mode == "sequential" else []
        prompt = subquestion_prompt(question, subquestion, earlier)
        if subsolver is None:
            return Call(self.model, prompt, name, options=options, price=self.price)
        return Call(subsolver, prompt if is_chat_model(subsolver) else subsolver_input(subsolver, subquestion), name)

    def _closing_call(self, prompt: list[BaseMessage], options: dict[str, Any]) -> Call:
        call = Call(self.model, prompt, "divconq:solve", quiet=False, options=options, price=self.price)
        if self.structured is False:
            return call
        schema = FinalAnswer if self.structured is True else self.structured
        write = _in_words if self.structured is True else render_json
        return replace(call, held=held_to(self.model, schema, write), schema_tokens=schema_tokens(schema))


@dataclass
class Findings:
    """What was found before the closing call.

    Attributes:
        subanswers: Answers found by earlier calls; None: the closing call answers all, or there are no subquestions.
        usage: What the earlier calls used.
        usage_metadata: The same as LangChain counts it; None: there were none, or they reported nothing.
    """

    subanswers: tuple[Subanswer, ...] | None = None
    usage: StageUsage = field(default_factory=StageUsage)
    usage_metadata: UsageMetadata | None = None

    def add(self, call: Call, reply: Reply, *, is_told: bool) -> str | None:
        """Count a call, and return the answer in its reply; `is_told`: it was told how to mark the answer."""
        self.usage += StageUsage.of_call(reply.message, seconds=reply.seconds, price=call.price)
        self.usage_metadata = add_metadata(self.usage_metadata, reply.message.usage_metadata)
        return read_reply(reply.message.text, is_told=is_told)


@dataclass(frozen=True)
class Closing:
    """The last call of a solution, paid for and ready to be made, with what was found before it.

    Its reply holds the final answer, which `read` takes from the text; None: there is none.
    """

    decomposition: Decomposition
    held: Held
    mode: Mode | SingleStage
    reason: str
    found: Findings
    purse: Purse
    read: Callable[[str], str | None]

    def finish(self, reply: Reply) -> Solution:
        """Return the solution in the closing call's reply, once that is paid for."""
        self.purse.settle(self.held, reply)
        text = reply.message.text
        used = StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.held.call.price)
        return Solution(
            answer=self.read(text),
            text=text,
            decomposition=self.decomposition,
            subanswers=self.found.subanswers,
            mode=self.mode,
            reason=self.reason,
            usage=Usage(decompose=self.decomposition.usage, solve=self.found.usage + used),
        )

    def message(self, reply: Reply) -> AIMessage:
        """Return the closing message with the Solution, and with the tokens of all the solver's calls."""
        usage = add_metadata(self.found.usage_metadata, reply.message.usage_metadata)
        return self.finish(reply).to_message(reply.message.model_copy(update={"usage_metadata": usage}))

    def last_chunk(self, reply: Reply) -> AIMessageChunk:
        """Return what is left to say once the reply has been streamed: the Solution, the earlier calls' tokens."""
        earlier = self.found.usage_metadata
        return AIMessageChunk(
            content="",
            id=reply.output.id,
            response_metadata={METADATA_KEY: self.finish(reply).model_dump(mode="json")},
            usage_metadata=None
            if is_cached(earlier)
            else earlier,  # added to the reply's, it would mark both as cached
        )


def _at_once(call: Call) -> Strategy:
    yield Wave((call,))


def _waves(decomposition: Decomposition) -> list[list[int]]:
    """Return the subquestions' numbers grouped so that each needs answers from earlier groups alone."""
    depth: dict[int, int] = {}
    for number in range(1, len(decomposition.subquestions) + 1):
        depth[number] = 1 + max((depth[needed] for needed in decomposition.needs(number)), default=0)
    return [[n for n in depth if depth[n] == level] for level in range(1, max(depth.values()) + 1)]


def _if_json(text: str) -> str | None:
    try:
        json.loads(text)
    except ValueError:
        return None
    return text


def _in_words(answer: FinalAnswer) -> str:
    return f"{answer.working}\n\n{ANSWER_MARKER} {' '.join(answer.answer.split())}"
