"""Paid work, kept: what becomes of each example is on the disk before the next one counts as done.

A journal is a file of JSON lines. The first names the settings it was begun under, each other one finished example:

    {"settings": {"teacher": "openai:gpt-5-mini", ...}}
    {"id": "gsm8k/7", "example": {...}}             as the stage returns it
    {"id": "gsm8k/8", "left_out": "no plan"}        of no use, and why

Once all are there, the stage writes its artifacts in the input's order and removes the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from langchain_core.exceptions import ModelError
from langchain_core.runnables.config import ContextThreadPoolExecutor
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set

from langchain_divconq.asking import BROKEN_SETUP
from training.example import Example
from training.left_out import LeftOut, Outcome

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

_LONGEST_WAIT = 60.0
# When so many requests in a row have failed, each after all its attempts, the rest would fail as well.
_HOPELESS = 20
_NAMED_IDS = 10


class UnfinishedError(RuntimeError):
    """Some requests failed after all their attempts; what was finished is in the journal."""


def fingerprint(examples: Iterable[Example]) -> str:
    """Return a mark of the examples and their order, for a journal's settings."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.model_dump_json(exclude_defaults=True).encode() + b"\n")
    return digest.hexdigest()[:16]


class Journal:
    """The outcomes of a stage so far. One process at a time may hold it (where the system has locks).

    Attributes:
        outcomes: What became of each finished example, by its id.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Open the journal, or begin it. A half-written last line, left by a killed run, is dropped.

        Args:
            path: The file.
            settings: What the outcomes depend on, in JSON's types; a resumed run must have the same.

        Raises:
            ValueError: It was begun under other settings, is no journal, or another process holds it.
        """
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        try:
            _lock(self._file, path)
            self._resume(settings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def unfinished(self, examples: Iterable[Example]) -> list[Example]:
        """Return the examples without an outcome."""
        return [example for example in examples if example.id not in self.outcomes]

    def add(self, outcome: Outcome) -> None:
        """Add an outcome; when this returns, it survives the process and the machine."""
        record: dict[str, Any] = {"id": outcome.id}
        if isinstance(outcome, LeftOut):
            record["left_out"] = outcome.reason
        else:
            record["example"] = outcome.model_dump(mode="json", exclude_defaults=True)
        with self._lock:
            if outcome.id in self.outcomes:
                raise ValueError(f"{outcome.id} has an outcome in {self.path} already; ids must differ.")
            self._write(record)
            self.outcomes[outcome.id] = outcome

    def remove(self) -> None:
        """Remove the file, once the artifacts made of it are complete."""
        self._file.close()
        self.path.unlink()

    def _write(self, record: dict[str, Any]) -> None:
        """Write one line through to the disk; what cannot be written whole is taken back."""
        line = json.dumps(record).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(end)
            raise

    def _resume(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")[:-1]
        if lines:
            self._compare(self._read(1, lines[0], lambda record: dict(record["settings"])), settings)
        elif not b'{"settings": '.startswith(data[:13]):
            raise ValueError(f"{self.path} is no journal; it was left as it is. Move it away to begin one.")
        for number, line in enumerate(lines[1:], start=2):
            outcome = self._read(number, line, _read_outcome)
            if outcome.id in self.outcomes:
                raise ValueError(
                    f"{self.path}, line {number}: {outcome.id} stands there already. Delete one of the two."
                )
            self.outcomes[outcome.id] = outcome
        self._file.truncate(whole)
        if not lines:
            self._write({"settings": settings})

    def _read(self, number: int, line: bytes, read: Callable[[Any], T]) -> T:
        try:
            return read(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path}, line {number}, is no record of a stage: {line[:80].decode(errors='replace')!r}. "
                "The file was left as it is: mend the line, or move the file away to begin anew."
            ) from error

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changes = [
            f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        if changes:
            raise ValueError(
                f"{self.path} was begun under other settings: {'; '.join(changes)}. Restore them to resume, or delete "
                "the file to begin anew."
            )


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

    Args:
        examples: All of them, finished ones included.
        work: Makes one request and returns its outcome. It runs on several threads.
        journal: Where outcomes are kept.
        concurrency: Most requests at once.
        attempts: Most attempts at one request.
        first_wait: Seconds before the second attempt, doubled for each further one up to a minute, plus some at random.

    Raises:
        UnfinishedError: Requests failed after all their attempts; raised at the end, or once hardly any succeeds.
        Exception: What fails every request alike (no key, no such model) is raised at once, as it came.
    """
    if len({example.id for example in examples}) < len(examples):
        raise ValueError("Two examples have the same id; ids must differ.")
    stopped = threading.Event()
    retrying = Retrying(
        stop=stop_after_attempt(attempts) | stop_when_event_set(stopped),
        wait=wait_exponential(multiplier=first_wait, max=_LONGEST_WAIT) + wait_random(0, first_wait),
        retry=retry_if_exception(_may_pass),
        sleep=sleep_using_event(stopped),
        reraise=True,
    )

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
    failures: dict[str, Exception] = {}
    in_a_row = 0
    with (
        _bar(len(examples), len(examples) - len(unfinished)) as bar,
        ContextThreadPoolExecutor(max_workers=concurrency) as executor,
    ):
        futures = {executor.submit(one, example): example for example in unfinished}
        try:
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
        finally:
            stopped.set()  # wakes those that wait before another attempt
            for future in futures:
                future.cancel()
    if failures:
        raise UnfinishedError(_report(failures, len(journal.unfinished(examples)), attempts, journal.path))
    return [journal.outcomes[example.id] for example in examples]


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


def _read_outcome(record: dict[str, Any]) -> Outcome:
    if "left_out" in record:
        return LeftOut(str(record["id"]), str(record["left_out"]))
    example = Example.model_validate(record["example"])
    if example.id != record["id"]:
        raise ValueError(f"two ids: {record['id']} and {example.id}")
    return example


def _lock(file: BinaryIO, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f"Another process is writing {path}. Wait for it to end.") from None


@contextmanager
def _bar(total: int, done: int) -> Iterator[Any]:
    """Yield a progress bar, which shows itself on a terminal alone."""
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="example", file=sys.stderr, disable=None) as bar:
        yield bar
