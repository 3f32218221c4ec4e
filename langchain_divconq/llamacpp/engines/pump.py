"""Generations as iterators: a thread each, which a consumer that goes away takes with it.

A thread of its own, never one of a pool: as many generations wait for their turn as there are callers, and waiting in
the event loop's default executor would starve whatever else runs there. The thread never waits for its consumer, so a
second generation may be asked for while the first is being read.
"""

import asyncio
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
IsCancelled = Callable[[], bool]
Work = Callable[[Callable[[T], None], IsCancelled], None]
"""Called with what takes each item, and with what says whether anyone still wants one."""

_ending = threading.Event()
_running: "weakref.WeakSet[threading.Event]" = weakref.WeakSet()


def iterate(work: Work[T]) -> Generator[T, None, None]:
    """Yield what `work` emits in a thread. Closing the iterator cancels the work."""
    items: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    cancelled = _start(work, items.put)
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        cancelled.set()


async def aiterate(work: Work[T]) -> AsyncGenerator[T, None]:
    """Yield what `work` emits in a thread. Closing the iterator, or cancelling the task, cancels the work."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()

    def put(item: tuple[T] | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(items.put_nowait, item)

    cancelled = _start(work, put)
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        cancelled.set()


async def arun(work: Callable[[IsCancelled], T]) -> T:
    """Return what `work` returns in a thread. Cancelling the task cancels the work."""

    def emit_result(emit: Callable[[T], None], is_cancelled: IsCancelled) -> None:
        emit(work(is_cancelled))

    async with aclosing(aiterate(emit_result)) as results:
        return await anext(results)


def or_ending(is_cancelled: IsCancelled) -> IsCancelled:
    """Return what also says that nobody wants an item once the process ends, in whichever thread it is asked."""
    return lambda: is_cancelled() or _ending.is_set()


def is_ending() -> bool:
    """Return whether the process is coming to its end."""
    return _ending.is_set()


def cancel_all() -> None:
    """Cancel all work under way, and all that comes, as the process ends."""
    _ending.set()
    for cancelled in list(_running):
        cancelled.set()


def _start(work: Work[T], put: Callable[[tuple[T] | BaseException | None], None]) -> threading.Event:
    cancelled = threading.Event()
    _running.add(cancelled)

    def run() -> None:
        outcome: BaseException | None = None
        try:
            work(lambda item: put((item,)), cancelled.is_set)
        except BaseException as error:  # raised again where it is awaited
            outcome = error
        try:
            put(outcome)
        except RuntimeError:  # the event loop was closed just now
            cancelled.set()

    threading.Thread(target=run, name="divconq-generation", daemon=True).start()
    return cancelled
