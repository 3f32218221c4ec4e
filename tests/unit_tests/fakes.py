"""Chat models that answer by a function, and watch how they are called; a tracer that keeps what it is told."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from pydantic import BaseModel, Field, PrivateAttr

SUBQUESTIONS = ("How many pens are in 3 boxes of 12?", "How many of #1 pens are left after 7 are given away?")
PLAN = f"1. {SUBQUESTIONS[0]}\n2. {SUBQUESTIONS[1]}"
QUESTION = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"
Reply = Callable[[list[BaseMessage]], str | AIMessage]


class ScriptedModel(BaseChatModel):
    """Replies with `reply(messages)`, word by word in a stream, after `delay` seconds, as a metered provider would.

    Attributes:
        reply: Messages to text, or to a message; may raise.
        model_name: Reported with the usage.
        delay: Seconds before the first word.
        metered: Whether it reports usage.
        logprobs: What it reports of the first token, in the OpenAI shape: token → log-probability.
    """

    reply: Reply
    model_name: str = "scripted"
    delay: float = 0.0
    metered: bool = True
    logprobs: dict[str, float] | None = None
    temperature: float = 0.0
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    stops: list[Any] = Field(default_factory=list)
    options: list[dict[str, Any]] = Field(default_factory=list)
    spans: list[tuple[float, float]] = Field(default_factory=list)
    cancelled: int = 0
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _in_flight: int = PrivateAttr(default=0)
    most_in_flight: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @contextmanager
    def _watched(self, messages: list[BaseMessage], stop: Any, options: dict[str, Any]) -> Iterator[None]:
        with self._lock:
            self.seen.append(messages)
            self.stops.append(stop)
            self.options.append(options)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        start = time.perf_counter()
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            with self._lock:
                self._in_flight -= 1
                self.spans.append((start, time.perf_counter()))

    def _usage(self, messages: list[BaseMessage], text: str) -> UsageMetadata | None:
        if not self.metered:
            return None
        read, written = sum(len(message.text.split()) for message in messages), len(text.split())
        counts = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return counts | {"input_token_details": {"cache_read": 1}}

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"model_name": self.model_name}
        if self.logprobs is not None:
            alternatives = [{"token": token, "logprob": logprob} for token, logprob in self.logprobs.items()]
            best = max(self.logprobs, key=self.logprobs.__getitem__)
            first = {"token": best, "logprob": self.logprobs[best], "top_logprobs": alternatives}
            metadata["logprobs"] = {"content": [first]}
        return metadata

    def _message(self, messages: list[BaseMessage]) -> AIMessage:
        reply = self.reply(messages)
        message = AIMessage(reply) if isinstance(reply, str) else reply
        told = {**self._metadata(), **message.response_metadata}
        return message.model_copy(
            update={"usage_metadata": self._usage(messages, message.text), "response_metadata": told}
        )

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        with self._watched(messages, stop, kwargs):
            time.sleep(self.delay)
            message = self._message(messages)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        with self._watched(messages, stop, kwargs):
            await asyncio.sleep(self.delay)
            message = self._message(messages)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        words = message.text.split(" ")
        for position, word in enumerate(words):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + (" " if position < len(words) - 1 else "")))
        told: Any = {"usage_metadata": message.usage_metadata, "response_metadata": message.response_metadata}
        told["tool_call_chunks"] = [
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=position)
            for position, call in enumerate(message.tool_calls)
        ]
        yield ChatGenerationChunk(message=AIMessageChunk(content="", chunk_position="last", **told))

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        with self._watched(messages, stop, kwargs):
            time.sleep(self.delay)
            for chunk in self._chunks(self._message(messages)):
                if run_manager:
                    run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        with self._watched(messages, stop, kwargs):
            await asyncio.sleep(self.delay)
            for chunk in self._chunks(self._message(messages)):
                if run_manager:
                    await run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk


def scripted(text: str | Reply, **fields: Any) -> ScriptedModel:
    """Return a model that always says the same, or what a function makes of the messages."""
    return ScriptedModel(reply=text if callable(text) else lambda _: text, **fields)


class Structuring(ScriptedModel):
    """Supports structured output, as a provider's model does."""

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
        def read(message: BaseMessage) -> Any:
            found = json.loads(message.text)
            return schema(**found) if isinstance(schema, type) and issubclass(schema, BaseModel) else found

        return self.bind(schema=schema) | RunnableLambda(read)


class AgentModel(ScriptedModel):
    """Takes tools; which it calls, its reply says."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:
        return self


def calls(tool: str, **arguments: Any) -> AIMessage:
    """Return a message that calls a tool."""
    call = {"name": tool, "args": arguments, "id": f"call-{tool}-{len(arguments)}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def in_turn(*replies: AIMessage) -> AgentModel:
    """Return a model that answers each question with these messages, one after each result of a tool."""

    def reply(messages: list[BaseMessage]) -> AIMessage:
        last_question = max(n for n, message in enumerate(messages) if isinstance(message, HumanMessage))
        return replies[sum(isinstance(message, ToolMessage) for message in messages[last_question:])]

    return AgentModel(reply=reply)


class Tree(BaseTracer):
    """Keeps the runs of a trace."""

    root: Run

    def _persist_run(self, run: Run) -> None:
        self.root = run

    def lines(self) -> list[str]:
        """Return a line for each run, those below it further in."""

        def walk(run: Run, depth: int) -> Iterator[str]:
            yield f"{'  ' * depth}{run.name} ({run.run_type})"
            for child in run.child_runs:
                yield from walk(child, depth + 1)

        return list(walk(self.root, 0))


async def ticks_during(work: Awaitable[Any]) -> int:
    """Wait for some work; return how often the event loop came to something else meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    await work
    ticker.cancel()
    return ticks


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a function that takes anything and raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def failing(error: BaseException, **fields: Any) -> ScriptedModel:
    """Return a model whose every call raises."""
    return ScriptedModel(reply=raising(error), **fields)
