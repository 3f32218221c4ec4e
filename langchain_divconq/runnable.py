"""The Runnable interface of the chain, reduced to what happens to one question.

Batches share one limiter, so `max_concurrency` is the number of solver calls in flight however many each question
makes; and one question more is at work than calls may be in flight, so the next is divided while the last is conquered.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.load.serializable import Serializable, SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import ensure_config, get_config_list
from pydantic import BaseModel

from langchain_divconq.calls import Limiter, arun_all, run_all
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.types import QUESTION_SCHEMA, QuestionInput


class Dumpable(Serializable):
    """What `langchain_core.load.dumpd` writes and `load` reads, as far as its parts are such.

    To read one, name what may be made: `load(manifest, allowed_objects=[DivideAndConquer, Solver, ChatOpenAI])`.
    """

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that it can be written."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what it was made of.

        Raises:
            ConfigurationError: A part of it cannot be written.
        """
        given = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        options = {name: self._plain(name, value) for name, value in given.items()}
        return SerializedConstructor(lc=1, type="constructor", id=self.lc_id(), kwargs=options)

    def _plain(self, name: str, value: object) -> object:
        if isinstance(value, Serializable):
            if value.is_lc_serializable():
                return value
        elif isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        elif value is None or isinstance(value, (str, int, float, bool, dict)):
            return value
        kind, own = getattr(value, "__name__", type(value).__name__), type(self).__name__
        raise ConfigurationError(
            f"The {name} of this {own}, a {kind}, cannot be written by LangChain's dumpd. Keep the code that makes the "
            f"{own} instead."
        )


class ChatRunnable(Dumpable, RunnableSerializable[QuestionInput, AIMessage]):
    """A Runnable from a question to a message, whose inner calls are limited over a whole batch."""

    @property
    def InputType(self) -> Any:  # noqa: N802  # the name is langchain-core's
        """What a question may come as, in types a schema can show."""
        return QUESTION_SCHEMA

    @property
    def OutputType(self) -> type[AIMessage]:  # noqa: N802  # likewise
        """A chat model's message."""
        return AIMessage

    @abstractmethod
    def _invoke(
        self,
        limiter: Limiter,
        value: QuestionInput,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AIMessage: ...

    @abstractmethod
    async def _ainvoke(
        self,
        limiter: Limiter,
        value: QuestionInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AIMessage: ...

    @abstractmethod
    def _transform(
        self,
        inputs: Iterator[QuestionInput],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[AIMessage]: ...

    @abstractmethod
    def _atransform(
        self,
        inputs: AsyncIterator[QuestionInput],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessage]: ...

    def invoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Answer one question; keyword arguments go to the solver's model."""
        return self._invoke_within(_limiter(config), input, config, **kwargs)

    async def ainvoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Answer one question without blocking the event loop."""
        return await self._ainvoke_within(_limiter(config), input, config, **kwargs)

    def _invoke_within(
        self, limiter: Limiter, input: QuestionInput, config: RunnableConfig | None, **kwargs: Any
    ) -> AIMessage:
        return self._call_with_config(partial(self._invoke, limiter), input, config, **kwargs)

    async def _ainvoke_within(
        self, limiter: Limiter, input: QuestionInput, config: RunnableConfig | None, **kwargs: Any
    ) -> AIMessage:
        return await self._acall_with_config(partial(self._ainvoke, limiter), input, config, **kwargs)

    def stream(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessage]:
        """Yield the closing reply as it is written; the last chunk carries the Solution."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """Yield the closing reply as it is written; the last chunk carries the Solution."""

        async def one() -> AsyncIterator[QuestionInput]:
            yield input

        async for chunk in self.atransform(one(), config, **kwargs):
            yield chunk

    def transform(
        self, input: Iterator[QuestionInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessage]:
        """Yield the closing reply to a question that itself comes in pieces."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[QuestionInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """Yield the closing reply to a question that itself comes in pieces."""
        async for chunk in self._atransform_stream_with_config(input, self._atransform, config, **kwargs):
            yield chunk

    def batch(
        self,
        inputs: Sequence[QuestionInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many questions, in order; `max_concurrency` is the number of solver calls in flight."""
        results = list(self.batch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs))
        return _in_order(results)

    async def abatch(
        self,
        inputs: Sequence[QuestionInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many questions, in order; `max_concurrency` is the number of solver calls in flight."""
        results = self.abatch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return _in_order([result async for result in results])

    def batch_as_completed(  # type: ignore[override]  # core tells return_exceptions apart by overloads; one signature serves
        self,
        inputs: Sequence[QuestionInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, AIMessage | Exception]]:
        """Answer many questions and yield each with its position as soon as it is done."""
        if not inputs:
            return
        configs = get_config_list(config, len(inputs))
        limit = configs[0].get("max_concurrency")
        limiter = Limiter(limit)

        def answer(position: int) -> AIMessage:
            return self._invoke_within(limiter, inputs[position], configs[position], **kwargs)

        yield from run_all(answer, len(inputs), None if limit is None else limit + 1, return_exceptions)

    async def abatch_as_completed(  # type: ignore[override]  # as in batch_as_completed
        self,
        inputs: Sequence[QuestionInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, AIMessage | Exception]]:
        """Answer many questions and yield each with its position as soon as it is done."""
        if not inputs:
            return
        configs = get_config_list(config, len(inputs))
        limit = configs[0].get("max_concurrency")
        limiter = Limiter(limit)

        async def answer(position: int) -> AIMessage:
            return await self._ainvoke_within(limiter, inputs[position], configs[position], **kwargs)

        async for result in arun_all(answer, len(inputs), None if limit is None else limit + 1, return_exceptions):
            yield result


def _limiter(config: RunnableConfig | None) -> Limiter:
    # ensure_config: inside another run the limit may be that run's, as it is in a stream and in a batch.
    return Limiter(ensure_config(config).get("max_concurrency"))


def _in_order(results: list[tuple[int, AIMessage | Exception]]) -> list[AIMessage]:
    # With return_exceptions the list holds exceptions too; core's own annotation does not say so either.
    return cast("list[AIMessage]", [message for _, message in sorted(results, key=lambda result: result[0])])
