"""Requests that are paid for: so many at once, tried again, and kept on the disk before the next one counts as done.

A stage's journal keeps what becomes of each example. Once all are there, the stage writes its artifacts in the input's
order and removes the journal.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ModelError
from langchain_core.runnables.config import ContextThreadPoolExecutor
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set
from tqdm import tqdm

from langchain_divconq.asking import BROKEN_SETUP
from training.example import Example, LeftOut, Outcome
from training.store import Records

_LONGEST_WAIT = 60.0
# When so many requests in a row have failed, each after all its attempts, the rest would fail as well.
_HOPELESS = 20
_NAMED_IDS = 10


class UnfinishedError(RuntimeError):
    """Some requests failed after all their attempts; what was finished is kept."""


class Journal(Records[Outcome]):
    """The outcomes of a stage so far."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open the journal, or begin it, under the settings that the outcomes depend on (see `Records`)."""
        kind: Any = Example | LeftOut
        super().__init__(path, kind, settings)

    def unfinished(self, examples: Iterable[Example]) -> list[Example]:
        """Return the examples without an outcome."""
        return [example for example in examples if example.id not in self.records]


def run_durably(
    examples: Sequence[Example],
    work: Callable[[Example], Outcome],
    journal: Journal,
    *,
    concurrency: int,
    attempts: int,
    first_wait: float = 1.0,
) -> list[Outcome]:
    """Return what becomes of each example, in order; what the journal holds is not done again.

    Ctrl-C waits for the requests under way and keeps their outcomes.

    `work` runs on several threads. `first_wait` is the seconds before the second attempt, doubled for each further one
    up to a minute, plus some at random.

    Raises:
        UnfinishedError: Requests failed after all their attempts; raised at the end, or once hardly any succeeds.
        Exception: What fails every request alike (no key, no such model) is raised at once, as it came.
    """
    stopped = threading.Event()
    retrying = _retrying(attempts, first_wait, stopped)

    def one(example: Example) -> None:
        if stopped.is_set():
            return
        try:
            # A copy: the original would mix up the statistics of threads.
            journal.add(retrying.copy()(work, example))
        except BROKEN_SETUP:
            stopped.set()
            raise

    unfinished = journal.unfinished(examples)
    done = len(examples) - len(unfinished)
    with (
        tqdm(total=len(examples), initial=done, unit="example", disable=None) as bar,
        ContextThreadPoolExecutor(max_workers=concurrency) as executor,
    ):
        futures = {executor.submit(one, example): example for example in unfinished}
        try:
            failures = _failures(futures, bar)
        finally:
            stopped.set()  # wakes those that wait before another attempt
            executor.shutdown(wait=False, cancel_futures=True)
    if failures:
        raise UnfinishedError(_report(failures, len(journal.unfinished(examples)), attempts, journal.path))
    return [journal.records[example.id] for example in examples]


def _retrying(attempts: int, first_wait: float, stopped: threading.Event) -> Retrying:
    return Retrying(
        stop=stop_after_attempt(attempts) | stop_when_event_set(stopped),
        wait=wait_exponential(multiplier=first_wait, max=_LONGEST_WAIT) + wait_random(0, first_wait),
        retry=retry_if_exception(_may_pass),
        sleep=sleep_using_event(stopped),
        reraise=True,
    )


def _failures(futures: Mapping[Future[None], Example], bar: Any) -> dict[str, Exception]:
    """Wait for the requests; return the errors by the example's id. The rest is not waited for once it is hopeless."""
    failures: dict[str, Exception] = {}
    in_a_row = 0
    for future in as_completed(futures):
        error = future.exception()
        if isinstance(error, BROKEN_SETUP) or not isinstance(error, Exception | None):
            raise error
        in_a_row = 0 if error is None else in_a_row + 1
        if error is not None:
            failures[futures[future].id] = error
            if in_a_row == _HOPELESS:
                break
        bar.update()
    return failures


def _may_pass(error: BaseException) -> bool:
    """Return whether another attempt may succeed. Errors that say nothing of it get the benefit of the doubt."""
    if isinstance(error, ModelError):
        return error.is_retryable
    return isinstance(error, Exception) and not isinstance(error, BROKEN_SETUP)


def _report(failures: dict[str, Exception], unfinished: int, attempts: int, journal: Path) -> str:
    named = "".join(f"\n  {name}: {type(error).__name__}: {error}" for name, error in [*failures.items()][:_NAMED_IDS])
    more = f"\n  and {len(failures) - _NAMED_IDS} more" if len(failures) > _NAMED_IDS else ""
    return (
        f"{len(failures)} requests failed, each after up to {attempts} attempts:{named}{more}\n"
        f"{unfinished} examples are left; the finished ones are kept in {journal}. "
        "Run the same stage again to ask for those alone."
    )
