"""Chat models that answer by a function, and watch how they are called."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

PLAN = "1. How many pens are in 3 boxes of 12?\n2. How many of #1 pens are left after 7 are given away?"
QUESTION = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"


class ScriptedModel(BaseChatModel):
    """Replies with `reply(messages)`, word by word in a stream, after `delay` seconds, as a metered provider would.

    Attributes:
        reply: Messages to text; may raise.
        model_name: Reported with the usage.
        delay: Seconds before the first word.
        metered: Whether it reports usage.
        logprobs: What it reports of the first token, in the OpenAI shape: token → log-probability.
    """

    reply: Callable[[list[BaseMessage]], str]
    model_name: str = "scripted"
    delay: float = 0.0
    metered: bool = True
    logprobs: dict[str, float] | None = None
    temperature: float = 0.0
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    options: list[dict[str, Any]] = Field(default_factory=list)
    spans: list[tuple[float, float]] = Field(default_factory=list)
    cancelled: int = 0
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _in_flight: int = PrivateAttr(default=0)
    most_in_flight: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _begin(self, messages: list[BaseMessage], options: dict[str, Any]) -> float:
        with self._lock:
            self.seen.append(messages)
            self.options.append(options)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        return time.perf_counter()

    def _end(self, start: float) -> None:
        with self._lock:
            self._in_flight -= 1
            self.spans.append((start, time.perf_counter()))

    def _usage(self, messages: list[BaseMessage], text: str) -> UsageMetadata | None:
        if not self.metered:
            return None
        read, written = sum(len(message.text.split()) for message in messages), len(text.split())
        return UsageMetadata(
            input_tokens=read,
            output_tokens=written,
            total_tokens=read + written,
            input_token_details={"cache_read": 1},
        )

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"model_name": self.model_name}
        if self.logprobs is not None:
            alternatives = [{"token": token, "logprob": logprob} for token, logprob in self.logprobs.items()]
            best = max(self.logprobs, key=self.logprobs.__getitem__)
            first = {"token": best, "logprob": self.logprobs[best], "top_logprobs": alternatives}
            metadata["logprobs"] = {"content": [first]}
        return metadata

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        start = self._begin(messages, kwargs)
        try:
            time.sleep(self.delay)
            text = self.reply(messages)
        finally:
            self._end(start)
        message = AIMessage(text, usage_metadata=self._usage(messages, text), response_metadata=self._metadata())
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        start = self._begin(messages, kwargs)
        try:
            await asyncio.sleep(self.delay)
            text = self.reply(messages)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._end(start)
        message = AIMessage(text, usage_metadata=self._usage(messages, text), response_metadata=self._metadata())
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunks(self, messages: list[BaseMessage], text: str) -> Iterator[ChatGenerationChunk]:
        words = text.split(" ")
        for position, word in enumerate(words):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + (" " if position < len(words) - 1 else "")))
        last = AIMessageChunk(
            content="",
            usage_metadata=self._usage(messages, text),
            response_metadata=self._metadata(),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        start = self._begin(messages, kwargs)
        try:
            time.sleep(self.delay)
            for chunk in self._chunks(messages, self.reply(messages)):
                if run_manager:
                    run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk
        finally:
            self._end(start)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        start = self._begin(messages, kwargs)
        try:
            await asyncio.sleep(self.delay)
            for chunk in self._chunks(messages, self.reply(messages)):
                if run_manager:
                    await run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk
        finally:
            self._end(start)


def scripted(text: str | Callable[[list[BaseMessage]], str], **fields: Any) -> ScriptedModel:
    """Return a model that always says the same, or what a function makes of the messages."""
    return ScriptedModel(reply=text if callable(text) else lambda _: text, **fields)


def failing(error: Exception, **fields: Any) -> ScriptedModel:
    """Return a model whose every call raises."""

    def fail(_: list[BaseMessage]) -> str:
        raise error

    return ScriptedModel(reply=fail, **fields)
