"""Model calls as data, so that each stage is written once and driven both with and without an event loop.

A stage is a generator: it yields the calls that may run at once and gets their replies back. `drive` and `adrive` make
the calls: timed, no more in flight than the limiter allows, and without siblings left running after a failure.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessageChunk,
    HumanMessage,
    message_chunk_to_message,
)
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor, get_executor_for_config, merge_configs

from langchain_divconq.errors import ConfigurationError, GenerationCancelled
from langchain_divconq.types import METADATA_KEY
from langchain_divconq.usage import Price, add_metadata, sane

T = TypeVar("T")

_CANCELLED = "The model cancelled its own call. Ask again, or look at what the model runs on."


@dataclass(frozen=True)
class Call:
    """One call of a model.

    Attributes:
        prompt: The model's input: messages, or what a Runnable of another kind takes.
        name: The run's name in a trace, also its tag.
        quiet: Whether its tokens stay out of a graph's message stream.
        options: Keyword arguments of the call.
        price: What its tokens cost; None: they are not counted in dollars.
        may_fail: Whether an error comes back in the reply instead of being raised.
        waits: Whether it counts among the calls whose number in flight is limited.
        is_short: Whether the reply may be held to a line, where a budget pays for no more.
        held: What is called in the model's place: the model, held to a schema.
        schema_tokens: Most tokens that this schema adds to the prompt.
    """

    model: Runnable[Any, Any]
    prompt: Any
    name: str
    quiet: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    price: Price | None = None
    may_fail: bool = False
    waits: bool = True
    is_short: bool = False
    held: Runnable[Any, Any] | None = None
    schema_tokens: int = 0

    @property
    def runnable(self) -> Runnable[Any, Any]:
        """What is called."""
        return self.model if self.held is None else self.held

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config of the run this call becomes, a child of the run `config` belongs to."""
        tags = [self.name, "nostream"] if self.quiet else [self.name]
        return merge_configs(config, {"tags": tags, "run_name": self.name})


@dataclass
class Reply:
    """What became of a call: what the model returned, the seconds it took, and where it may fail, why it did."""

    output: Any = None
    seconds: float = 0.0
    error: Exception | None = None

    @cached_property
    def message(self) -> AIMessage:
        """The output as a message. Raises a ConfigurationError where it is something else."""
        return as_message(self.output)


@dataclass(frozen=True)
class Announcement:
    """What whoever watches a run is told as it comes: a custom event's name and data."""

    name: str
    data: Any


@dataclass(frozen=True)
class Pause:
    """A moment to wait for others."""

    seconds: float = 0.05


Stage = Generator[list[Call] | Announcement | Pause, list[Reply], T]
"""Yields calls that may run at once, gets their replies, and returns the result; may announce or pause between."""


class Limiter:
    """Holds the number of calls in flight at `limit`; None: no limit.

    Attributes:
        threads: A context in which a thread may make one call.
        tasks: The same for a task, of one event loop.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise ConfigurationError(f"max_concurrency is {limit}; it must be at least 1, or None for no limit.")
        self.threads = nullcontext() if limit is None else threading.Semaphore(limit)
        self.tasks = nullcontext() if limit is None else asyncio.Semaphore(limit)


def drive(stage: Stage[T], config: RunnableConfig, limiter: Limiter) -> T:
    """Run a stage to its result, on threads where calls may run at once."""
    replies: list[Reply] | None = None
    with closing(stage):  # a failure ends what it has begun
        while True:
            try:
                calls = next(stage) if replies is None else stage.send(replies)
            except StopIteration as stop:
                result: T = stop.value
                return result
            replies = []
            if isinstance(calls, Announcement):
                dispatch_custom_event(calls.name, calls.data, config=config)
            elif isinstance(calls, Pause):
                time.sleep(calls.seconds)
            elif len(calls) <= 1:
                replies = [call_model(call, config, limiter) for call in calls]
            else:
                with ContextThreadPoolExecutor(max_workers=len(calls)) as executor:
                    replies = list(executor.map(partial(call_model, config=config, limiter=limiter), calls))


async def adrive(stage: Stage[T], config: RunnableConfig, limiter: Limiter) -> T:
    """Run a stage to its result on the event loop."""
    replies: list[Reply] | None = None
    with closing(stage):
        while True:
            try:
                calls = next(stage) if replies is None else stage.send(replies)
            except StopIteration as stop:
                result: T = stop.value
                return result
            replies = []
            if isinstance(calls, Announcement):
                await adispatch_custom_event(calls.name, calls.data, config=config)
            elif isinstance(calls, Pause):
                await asyncio.sleep(calls.seconds)
            else:
                replies = await gather(*(acall_model(call, config, limiter) for call in calls))


async def gather(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Await all; at the first failure, or when cancelled, cancel the others and wait for them to end."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def call_model(call: Call, config: RunnableConfig, limiter: Limiter) -> Reply:
    """Make one call and wait for its reply."""
    with limiter.threads if call.waits else nullcontext(), _awaited(call) as reply:
        reply.output = call.runnable.invoke(call.prompt, call.config(config), **call.options)
    return reply


async def acall_model(call: Call, config: RunnableConfig, limiter: Limiter) -> Reply:
    """Make one call and await its reply."""
    async with limiter.tasks if call.waits else nullcontext():
        with _awaited(call) as reply:
            reply.output = await call.runnable.ainvoke(call.prompt, call.config(config), **call.options)
    return reply


@contextmanager
def _awaited(call: Call) -> Iterator[Reply]:
    """Take the time of a call, and its error, where that is a result."""
    reply, start = Reply(), time.perf_counter()
    try:
        with _cancelled_as_error():
            yield reply
    except Exception as error:  # a model may raise anything, and of a call that may fail that is the result
        if not call.may_fail:
            raise
        reply.error = error
    reply.seconds = time.perf_counter() - start


def stream_model(call: Call, config: RunnableConfig, limiter: Limiter) -> Iterator[AIMessageChunk]:
    """Make one call and yield its reply as it comes."""
    with limiter.threads, _cancelled_as_error():
        for output in call.runnable.stream(call.prompt, call.config(config), **call.options):
            yield as_chunk(output)


async def astream_model(call: Call, config: RunnableConfig, limiter: Limiter) -> AsyncIterator[AIMessageChunk]:
    """Make one call and yield its reply as it comes."""
    async with limiter.tasks:
        async for output in call.runnable.astream(call.prompt, call.config(config), **call.options):
            yield as_chunk(output)


@contextmanager
def _cancelled_as_error() -> Iterator[None]:
    """Turn a cancellation by the model itself into an error."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = None
        with suppress(RuntimeError):  # there is no event loop, so nobody else can have cancelled the call
            task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise GenerationCancelled(_CANCELLED) from error


def run_all(
    work: Callable[[int], T], count: int, limit: int | None, return_exceptions: bool
) -> Iterator[tuple[int, T | Exception]]:
    """Do pieces of work on at most `limit` threads and yield each one's position and result as soon as it is there.

    At the first failure what has not begun is dropped and the error raised, unless exceptions are to be returned.
    """

    def one(position: int) -> tuple[int, T | Exception]:
        try:
            return position, work(position)
        except Exception as error:  # a model may raise anything, and callers may ask for it as a result
            if return_exceptions:
                return position, error
            raise

    with get_executor_for_config({"max_concurrency": limit}) as executor:
        futures = [executor.submit(one, position) for position in range(count)]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


async def arun_all(
    work: Callable[[int], Coroutine[Any, Any, T]], count: int, limit: int | None, return_exceptions: bool
) -> AsyncIterator[tuple[int, T | Exception]]:
    """Do pieces of work, at most `limit` at once, and yield each one's position and result as soon as it is there.

    At the first failure the others are cancelled and the error raised, unless exceptions are to be returned.
    """
    at_work = Limiter(limit)

    async def one(position: int) -> tuple[int, T | Exception]:
        async with at_work.tasks:
            try:
                with _cancelled_as_error():
                    return position, await work(position)
            except Exception as error:  # a model may raise anything, and callers may ask for it as a result
                if return_exceptions:
                    return position, error
                raise

    tasks = [asyncio.ensure_future(one(position)) for position in range(count)]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for pending in tasks:
            pending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def as_message(output: object) -> AIMessage:
    """Return a model's output as a message: chat models return one, other Runnables may return text, agents a state."""
    if isinstance(output, str):
        return AIMessage(encodable(output))
    if isinstance(output, Mapping) and output.get("messages"):
        output = _last_message(output["messages"])
    if isinstance(output, BaseMessageChunk):
        output = message_chunk_to_message(output)
    if isinstance(output, AIMessage):
        # LangChain's cache marks what it answers, also where the model reported no tokens: counts are then missing.
        metadata = {key: value for key, value in output.response_metadata.items() if key != METADATA_KEY}
        return output.model_copy(
            update={
                "content": encodable(output.content),
                "usage_metadata": sane(output.usage_metadata),
                "response_metadata": metadata,
            }
        )
    raise ConfigurationError(
        f"A model must return a message or text, got {type(output).__name__}. End a chain used as a model before the "
        "step that makes something else of the reply."
    )


def encodable(content: Any) -> Any:
    """Return a message's content without halves of surrogate pairs, which cannot be written as UTF-8."""
    if isinstance(content, str):
        # By UTF-16, two halves that came one after the other become the character that they stand for.
        return content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(content, list):
        return [encodable(block) for block in content]
    if isinstance(content, dict):
        return {key: encodable(value) for key, value in content.items()}
    return content


def _last_message(messages: Sequence[object]) -> object:
    """Return what an agent said in the end, with the tokens of all it said since it was last spoken to."""
    last, usage = messages[-1], None
    if not isinstance(last, AIMessage):
        return last
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        usage = add_metadata(usage, message.usage_metadata) if isinstance(message, AIMessage) else usage
    return last.model_copy(update={"usage_metadata": usage})


def as_chunk(output: object) -> AIMessageChunk:
    """Return a piece of a model's output as a message chunk."""
    if isinstance(output, str):
        output = AIMessageChunk(content=output)
    elif isinstance(output, AIMessage) and not isinstance(output, AIMessageChunk):
        fields = output.model_dump(exclude={"type", "usage_metadata"})
        output = AIMessageChunk(**fields, usage_metadata=sane(output.usage_metadata))
    if isinstance(output, AIMessageChunk):
        # A Solution of the model's own, which may be a chain too, is not ours, and could not be added to ours.
        metadata = {key: value for key, value in output.response_metadata.items() if key != METADATA_KEY}
        return output.model_copy(update={"response_metadata": metadata})
    return AIMessageChunk(**as_message(output).model_dump(exclude={"type"}))
