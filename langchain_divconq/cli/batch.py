"""Many questions at once: each becomes a record as soon as it is finished."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from langchain_divconq.asking import BROKEN_SETUP
from langchain_divconq.cli.console import note, usage_line
from langchain_divconq.cli.jsonl import Item, Record
from langchain_divconq.types import Decomposition, Solution
from langchain_divconq.usage import Usage


class Batch:
    """A run over the questions of a file, with its bar or, without tqdm, in silence; a summary closes it.

    Attributes:
        succeeded: Questions with a result.
        failed: Questions with an error.
        usage: What the results used.
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        add: Callable[[Record], None],
        concurrency: int,
        *,
        keeps_failures: bool = True,
    ) -> None:
        """Prepare the run.

        Args:
            runnable: From a question to a Decomposition or to the message of a Solution.
            add: Keeps a record.
            concurrency: Most calls in flight.
            keeps_failures: Whether a failed question has a record too.
        """
        self._runnable = runnable
        self._add = add
        self._concurrency = concurrency
        self._keeps_failures = keeps_failures
        self.succeeded = self.failed = 0
        self.usage = Usage()
        self._bar: Any = None

    def run(self, items: list[Item], before: int = 0) -> None:
        """Work through the questions.

        Args:
            items: The questions.
            before: How many more were finished by an earlier run, for bar and summary.
        """
        self._bar = progress_bar(len(items) + before, before)
        try:
            # On an event loop, an interrupt cancels the calls in flight instead of waiting for their replies.
            asyncio.run(self._run(items))
        finally:
            if self._bar is not None:
                self._bar.close()
            left = len(items) - self.succeeded - self.failed
            counts = [(self.succeeded, "finished"), (self.failed, "failed"), (before, "before"), (left, "left")]
            note(", ".join(f"{count} {what}" for count, what in counts if count or what == "finished"))
            if self.succeeded:
                note(usage_line(self.usage))

    async def _run(self, items: list[Item]) -> None:
        questions = [item.question for item in items]
        results = self._runnable.abatch_as_completed(
            questions, {"max_concurrency": self._concurrency}, return_exceptions=True
        )
        async with aclosing(results):  # type: ignore[type-var]  # an async generator, announced as an iterator
            async for position, result in results:
                if isinstance(result, BROKEN_SETUP):
                    raise result
                self._finish(items[position], result)
                if self._bar is not None:
                    self._bar.update()

    def _finish(self, item: Item, result: object) -> None:
        if isinstance(result, Exception):
            error = f"{type(result).__name__}: {result}"
            if self._keeps_failures:
                self._add(item.record(question=item.question.model_dump(mode="json"), error=error))
            self.failed += 1
            if self._bar is not None:
                self._bar.clear()  # it comes back with the next update, below the note
            note(f"{item.name}: {error}")
            return
        if isinstance(result, BaseMessage):
            solution = Solution.from_message(result)
            self._add(item.record(solution=solution.model_dump(mode="json")))
            self.usage += solution.usage
        else:
            assert isinstance(result, Decomposition)
            self._add(item.record(decomposition=result.model_dump(mode="json")))
            self.usage += Usage(decompose=result.usage)
        self.succeeded += 1


def progress_bar(total: int, done: int) -> Any:
    """Return a progress bar that shows itself on a terminal alone; None without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=done, unit="question", file=sys.stderr, disable=None)
