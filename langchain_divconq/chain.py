"""The two stages as one Runnable with a chat model's manners: a question in, an AIMessage out.

Batches share one limiter, so `max_concurrency` is the number of solver calls in flight however many each question
makes; and one question more is at work than calls may be in flight, so the next is divided while the last is conquered.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, TypeAlias, TypeVar, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableMap
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import Field, field_validator

from langchain_divconq.asking import DecomposerLike, OnTrouble, ask_decomposer
from langchain_divconq.budget import Budget, Pool, Purse
from langchain_divconq.calls import (
    Announcement,
    Limiter,
    Reply,
    Stage,
    adrive,
    arun_all,
    astream_model,
    drive,
    run_all,
    stream_model,
)
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, DivConqError
from langchain_divconq.llamacpp.structured import reader, reader_with_raw
from langchain_divconq.runnable import StageRunnable
from langchain_divconq.solver import Closing, Solver
from langchain_divconq.types import QUESTION_SCHEMA, Question, QuestionInput
from langchain_divconq.unwrap import models, named_model

T = TypeVar("T")

Configs: TypeAlias = RunnableConfig | Sequence[RunnableConfig] | None
"""One config for all inputs of a batch, or one for each."""

DECOMPOSITION_EVENT = "divconq_decomposition"
"""Custom event with the Decomposition, as plain JSON values, sent the moment there is one."""


class DivideAndConquer(StageRunnable[QuestionInput, AIMessage]):
    """Divides a question with a small local model and conquers it with any chat model.

    Takes what a chat model takes (text, messages, a prompt value), a `Question`, or a mapping with `question` and
    `context`; returns the solver's message, so it stands wherever a chat model's answer is used. The typed result comes
    back with `Solution.from_message`. Keyword arguments of a call are the solver's model's.

    Example:
        ```python
        chain = DivideAndConquer("openai:gpt-5-mini")
        reply = chain.invoke("Who is older, the author of Emma or the composer of Tosca?")
        print(reply.text, Solution.from_message(reply).subquestions)
        ```

    Raises:
        InvalidQuestionError: The input is no question in words.
        BudgetExceededError: The budget pays for no way to answer.
        EngineError: The decomposer's weights or engine are missing or broken.
    """

    solver: Runnable[Any, Any]
    """Any chat model, or its name ("openai:gpt-5-mini"), a Runnable that takes messages and returns a message or text,
    or a `Solver`."""

    decomposer: DecomposerLike = Field(default_factory=Decomposer)
    """A `Decomposer`, what one is made of, or any Runnable from `Question` to `Decomposition`."""

    budget: Budget | None = None
    """What a call may cost at most; None: there is no limit. `budget=` with a call takes its place; a batch shares
    one. Rather than overrun it, a question waits for what others may give back, steps down (sequential or parallel,
    fused, single-stage, a short reply) and says so in the Solution's reason, or is refused."""

    on_trouble: OnTrouble = "go_on"
    """What happens when the decomposer fails (no usable plan, too long a question, a server that is out of reach):
    "go_on" solves the question without subquestions, and says so in the Solution and the log; "raise" raises. A
    broken set-up always raises."""

    def __init__(self, *solver: Any, **options: Any) -> None:
        """Make the chain; the solver may stand alone: `DivideAndConquer(model)`.

        Raises:
            ConfigurationError: There are two solvers, one cannot be had by its name, or an option is another part's.
            ValidationError: An option is missing, unknown or out of range (pydantic's).
        """
        if len(solver) + ("solver" in options) > 1:
            raise ConfigurationError("There are several solvers; pass one: DivideAndConquer(solver=…).")
        for part in (Solver, Decomposer):
            for option in sorted(options.keys() & part.model_fields.keys() - type(self).model_fields.keys()):
                name = part.__name__
                raise ConfigurationError(
                    f"{option} is no option of the chain, but of its {name.lower()}: "
                    f"DivideAndConquer({name.lower()}={name}({option}=…, …))."
                )
        if solver:
            options["solver"] = solver[0]
        if "solver" in options:
            options["solver"] = named_model("solver", options["solver"])
        super().__init__(**options)

    @field_validator("solver", mode="before")
    @classmethod
    def _as_solver(cls, value: object) -> object:
        if not isinstance(value, Runnable):
            return value
        if not any(isinstance(model, Solver) for model, _ in models(value)):
            return Solver(model=value)
        if isinstance(value, (RunnableBindingBase, RunnableWithFallbacks)):
            raise ConfigurationError(
                "A Solver that a config, arguments, retries or fallbacks are bound to cannot be a chain's solver. Bind "
                "them to the chain, or to the Solver's model."
            )
        return value

    def with_structured_output(
        self, schema: type[Any] | dict[str, Any], *, include_raw: bool = False
    ) -> Runnable[QuestionInput, Any]:
        """Return the chain with final answers of a schema of yours; its solver's model must support structured output.

        Args:
            schema: A Pydantic class, of which the answers are objects; or a TypedDict or JSON schema: they are dicts.
            include_raw: Whether to return a dict of the message as "raw", the answer as "parsed", and "parsing_error".

        Raises:
            ConfigurationError: The model has no structured output, or the solver is one of several.
        """
        if not isinstance(self.solver, Solver):
            raise ConfigurationError("Which Solver runs is configured per call; make each structured=schema instead.")
        chain = DivideAndConquer(**{**dict(self), "solver": self.solver.with_schema(schema)})
        return RunnableMap(raw=chain) | reader_with_raw(schema) if include_raw else chain | reader(schema)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of both stages."""
        return get_unique_config_specs([*self.decomposer.config_specs, *self.solver.config_specs])

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the two stages as a graph."""
        told: Any = RunnableLambda(lambda solved: solved.to_message(AIMessage(solved.text)), name="AIMessage")
        stages: Runnable[Any, Any] = self.decomposer | self.solver | told
        return stages.get_graph(config)

    @property
    def InputType(self) -> Any:  # noqa: N802  # the name is langchain-core's
        """What a question may come as, in types a schema can show."""
        return QUESTION_SCHEMA

    def stream(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessage]:
        """Yield the closing reply as it is written; the last chunk carries the Solution."""
        yield from self._transform_stream_with_config(iter([input]), self._stream, config, **kwargs)

    async def astream(
        self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """Yield the closing reply as it is written; the last chunk carries the Solution."""

        async def one() -> AsyncIterator[QuestionInput]:
            yield input

        async for chunk in self._atransform_stream_with_config(one(), self._astream, config, **kwargs):
            yield chunk

    # As in core, `return_exceptions` says whether an error is a result; it is one of the keyword arguments.

    def batch(self, inputs: Sequence[QuestionInput], config: Configs = None, **kwargs: Any) -> list[AIMessage]:
        """Answer many questions, in order; `max_concurrency` is the number of solver calls in flight."""
        results = dict(self.batch_as_completed(inputs, config, **kwargs))
        return cast("list[AIMessage]", [results[at] for at in range(len(inputs))])  # core's type names no exceptions

    async def abatch(self, inputs: Sequence[QuestionInput], config: Configs = None, **kwargs: Any) -> list[AIMessage]:
        """Answer many questions, in order; `max_concurrency` is the number of solver calls in flight."""
        results = {at: message async for at, message in self.abatch_as_completed(inputs, config, **kwargs)}
        return cast("list[AIMessage]", [results[at] for at in range(len(inputs))])

    def batch_as_completed(  # type: ignore[override]  # core tells return_exceptions apart by overloads
        self, inputs: Sequence[QuestionInput], config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> Iterator[tuple[int, AIMessage | Exception]]:
        """Answer many questions, within one budget, and yield each with its position as soon as it is done."""
        if inputs:
            answer, at_once = self._together(self.invoke, inputs, config, kwargs)
            yield from run_all(answer, len(inputs), at_once, return_exceptions)

    async def abatch_as_completed(  # type: ignore[override]  # as in batch_as_completed
        self, inputs: Sequence[QuestionInput], config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> AsyncIterator[tuple[int, AIMessage | Exception]]:
        """Answer many questions, within one budget, and yield each with its position as soon as it is done."""
        if inputs:
            answer, at_once = self._together(self.ainvoke, inputs, config, kwargs)
            async for result in arun_all(answer, len(inputs), at_once, return_exceptions):
                yield result

    def _together(
        self, answer: Callable[..., T], inputs: Sequence[QuestionInput], config: Configs, kwargs: dict[str, Any]
    ) -> tuple[Callable[[int], T], int | None]:
        """Return what answers the question in a position, and how many of them may be at work; None: all."""
        configs = get_config_list(config, len(inputs))
        limit = configs[0].get("max_concurrency")
        shared = {**kwargs, "budget": self._pool(kwargs, inputs), "limiter": Limiter(limit)}
        return lambda at: answer(inputs[at], configs[at], **shared), None if limit is None else limit + 1

    def _pool(self, kwargs: dict[str, Any], inputs: Sequence[QuestionInput] = ()) -> Pool:
        """Return what pays for a call: its own budget, the chain's, or the pool of the batch it belongs to."""
        budget = kwargs.pop("budget", self.budget)
        if isinstance(budget, Pool):
            return budget
        if budget is not None and not isinstance(budget, Budget):
            raise ConfigurationError(f"budget must be a Budget or None, got {budget!r}.")
        pool = Pool(budget)
        if pool.limits_replies:
            [(solver, _)] = models(self.solver)
            for value in inputs:
                with suppress(DivConqError):  # its own run raises it
                    pool.expect(solver.cheapest(Question.from_input(value), kwargs))
        return pool

    def _begin(
        self, value: QuestionInput, config: RunnableConfig, options: dict[str, Any]
    ) -> tuple[Stage[AIMessage], RunnableConfig]:
        solver, config = _resolve(self.solver, config)
        return self._answer(value, solver, options), config

    def _answer(self, value: QuestionInput, solver: Solver, options: dict[str, Any]) -> Stage[AIMessage]:
        with closing(Purse(self._pool(options))) as purse:
            last = yield from self._before_closing(value, solver, options, purse)
            [reply] = yield [last.held.call]
            return last.message(reply)

    def _before_closing(
        self, value: QuestionInput, solver: Solver, options: dict[str, Any], purse: Purse
    ) -> Stage[Closing]:
        """Divide, announce the plan, and ask what comes before the closing call."""
        question = Question.from_input(value)
        yield from solver.open(question, options, purse)
        decomposition = yield from ask_decomposer(self.decomposer, question, self.on_trouble)
        yield Announcement(DECOMPOSITION_EVENT, decomposition.model_dump(mode="json"))
        return (yield from solver.before_closing(decomposition, options, purse))

    def _stream(
        self, inputs: Iterator[QuestionInput], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[AIMessage]:
        # Unlike in _invoke, the config handed over already belongs to this run: its callbacks are the run's children.
        limiter = Limiter(config.get("max_concurrency"))
        solver, config = _resolve(self.solver, config)
        with closing(Purse(self._pool(kwargs))) as purse:
            last = drive(self._before_closing(next(inputs), solver, kwargs, purse), config, limiter)
            start, total = time.perf_counter(), AIMessageChunk(content="")
            for chunk in stream_model(last.held.call, config, limiter):
                total += chunk
                yield chunk
            yield last.last_chunk(Reply(total, time.perf_counter() - start))

    async def _astream(
        self, inputs: AsyncIterator[QuestionInput], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        limiter = Limiter(config.get("max_concurrency"))
        solver, config = _resolve(self.solver, config)
        with closing(Purse(self._pool(kwargs))) as purse:
            last = await adrive(self._before_closing(await anext(inputs), solver, kwargs, purse), config, limiter)
            start, total = time.perf_counter(), AIMessageChunk(content="")
            async for chunk in astream_model(last.held.call, config, limiter):
                total += chunk
                yield chunk
            yield last.last_chunk(Reply(total, time.perf_counter() - start))


def _resolve(solver: Runnable[Any, Any], config: RunnableConfig) -> tuple[Solver, RunnableConfig]:
    """Return the Solver that the config selects, where its fields are configurable."""
    if isinstance(solver, DynamicRunnable):
        solver, config = solver.prepare(config)
    if not isinstance(solver, Solver):
        raise ConfigurationError(
            f"The configured solver is a {type(solver).__name__}; every alternative must be a Solver."
        )
    return solver, config
