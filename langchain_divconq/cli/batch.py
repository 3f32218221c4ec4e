"""Many questions at once: each becomes a record as soon as it is finished."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from langchain_divconq.asking import BROKEN_SETUP
from langchain_divconq.cli.console import note, usage_line
from langchain_divconq.cli.jsonl import Item, Record
from langchain_divconq.retrieval.evaluation import Outcome
from langchain_divconq.types import Decomposition, Solution
from langchain_divconq.usage import Usage


def run_batch(
    runnable: Runnable[Any, Any],
    items: list[Item],
    add: Callable[[Record], None],
    concurrency: int,
    *,
    inputs: Sequence[Any] | None = None,
    before: int = 0,
    keeps_failures: bool = True,
) -> int:
    """Work through the questions, with a bar where tqdm is installed; a summary closes it. Return how many failed.

    `runnable` makes of each of `inputs`, or else of each question, a Decomposition, an Outcome or the message of a
    Solution; `before` more were finished by an earlier run. With `keeps_failures` a failed question has a record too.
    """
    counts, usage = {"finished": 0, "failed": 0, "before": before, "left": len(items)}, Usage()

    async def run(bar: Any) -> None:
        nonlocal usage
        asked: Any = [item.question for item in items] if inputs is None else inputs
        results = runnable.abatch_as_completed(asked, {"max_concurrency": concurrency}, return_exceptions=True)
        async with aclosing(results):  # type: ignore[type-var]  # an async generator, announced as an iterator
            async for position, result in results:
                item, is_failure = items[position], isinstance(result, Exception)
                if isinstance(result, BROKEN_SETUP):
                    raise result
                record, used = _record(item, result)
                if keeps_failures or not is_failure:
                    add(record)
                if is_failure:
                    bar.clear()  # it comes back with the next update, below the note
                    note(f"{item.name}: {record['error']}")
                usage += used
                counts["left"] -= 1
                counts["failed" if is_failure else "finished"] += 1
                bar.update()

    try:
        with closing(_progress_bar(len(items) + before, before)) as bar:
            # On an event loop, an interrupt cancels the calls in flight instead of waiting for their replies.
            asyncio.run(run(bar))
    finally:
        _note_end(counts, usage)
    return counts["failed"]


def _note_end(counts: Mapping[str, int], usage: Usage) -> None:
    note(", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "finished"))
    if usage != Usage():
        note(usage_line(usage))


def _record(item: Item, result: object) -> tuple[Record, Usage]:
    if isinstance(result, Exception):
        question = item.question.model_dump(mode="json")
        return item.record(question=question, error=f"{type(result).__name__}: {result}"), Usage()
    if isinstance(result, BaseMessage):
        solution = Solution.from_message(result)
        return item.record(solution=solution.model_dump(mode="json")), solution.usage
    if isinstance(result, Outcome):
        return item.record(evaluation=result.model_dump(mode="json")), Usage()
    assert isinstance(result, Decomposition)
    return item.record(decomposition=result.model_dump(mode="json")), Usage(decompose=result.usage)


class _NoBar:
    """In the place of a bar, where tqdm is not installed."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: None


def _progress_bar(total: int, done: int) -> Any:
    """Return a progress bar that shows itself on a terminal alone; without tqdm one that never does."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(total=total, initial=done, unit="question", file=sys.stderr, disable=None)
