"""What a measurement leaves, as it may be committed: identifiers, verdicts, extracted answers and numbers.

A folder of results holds settings.json, and for each arm ARM.jsonl with a record a question. Records are added durably
while an arm runs, in the order the questions end; a complete arm's file is in the order they were drawn.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from langchain_divconq.engines import physical_cores
from langchain_divconq.usage import StageUsage

if sys.platform != "win32":
    import fcntl

Mode: TypeAlias = Literal["direct", "step_by_step", "fused", "sequential", "parallel", "self_ask"]

JUDGED = ("right", "wrong", "no answer")
"""The reasons of a verdict on a reply. Any other says why there was no reply to judge: such a question can be asked
again."""

_WHY = r"^(right|wrong|no answer|empty reply|not text|refused|timeout|error: \w+)$"
_LONGEST_ANSWER = 120
_LONGEST_RUN = 8  # words
REPEATED = "(repeats what was asked)"
"""Stands for an answer that is a piece of the benchmark's text."""

_FREE = ("n", "prices", "versus")
"""What may change of an arm that has records: more questions may be asked; prices and comparisons come afterwards."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Used(_Record):
    """What one stage used for one question.

    Attributes:
        calls: Model calls, failed ones included.
        unmetered_calls: Those of them whose model reported no token counts; their tokens are missing below.
        input_tokens, output_tokens: Prompt tokens, cached ones included, and generated tokens.
        seconds: Spent waiting for the model, calls added up, divided by the questions that were asked at once.
    """

    calls: int = 0
    unmetered_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, usage: StageUsage, at_once: int) -> Used:
        """Return what the ledger holds, but for a server's cache; `at_once` questions, this one too, were in flight."""
        return cls(
            calls=usage.calls,
            unmetered_calls=usage.unmetered_calls,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            seconds=round(usage.seconds / at_once, 3),
        )

    def __add__(self, other: Used) -> Used:
        return Used(**{name: getattr(self, name) + getattr(other, name) for name in Used.model_fields})


class AnswerRecord(_Record):
    """What became of one question in one arm.

    Attributes:
        id: The example's.
        source: The dataset's, as the config names it.
        strict, lenient, f1: The scores (see training/verdicts.py); f1 is DROP's alone.
        answer: The answer taken from the reply, cut where it is long (see `shortened`); None: there is none.
        why: "right", "wrong" or "no answer" of a reply; else why there was none, which counts as wrong.
        mode: How the solver was asked: the arm's mode, or a single-stage one where there was no plan.
        subquestions: How many the plan had, or in self-ask how many the solver asked itself; 0: single stage.
        no_decomposition_probability: The decomposer's, where it reports one.
        no_plan: Why a decomposer that should have written or recorded a plan has none; None: it has one, or says
            itself that none is needed.
        decompose, solve: What each stage used.
    """

    id: str
    source: str
    strict: float
    lenient: float
    f1: float | None = None
    answer: str | None = None
    why: str = Field(pattern=_WHY)
    mode: Mode
    subquestions: int = 0
    no_decomposition_probability: float | None = None
    no_plan: str | None = None
    decompose: Used = Used()
    solve: Used = Used()

    @property
    def is_failure(self) -> bool:
        """Whether there was no reply to judge."""
        return self.why not in JUDGED


def shortened(answer: str | None, *texts: str | None) -> str | None:
    """Return an answer as results may hold it: cut, all of it Unicode, no long run of the words of `texts` in it."""
    if answer is None:
        return None
    words = answer.casefold().split()
    runs = {" ".join(words[at : at + _LONGEST_RUN]) for at in range(len(words) - _LONGEST_RUN + 1)}
    written = [" ".join(text.casefold().split()) for text in texts if text]
    if any(run in text for run in runs for text in written):
        return REPEATED
    answer = answer.encode(errors="replace").decode()  # a model may write half a surrogate pair
    return answer if len(answer) <= _LONGEST_ANSWER else answer[: _LONGEST_ANSWER - 1] + "…"


R = TypeVar("R", bound=BaseModel)


class ResultFile(Generic[R]):
    """An arm's records, one durable line each. Whoever writes it holds the folder's lock (see `locked`).

    Attributes:
        records: All records, by the example's id.
    """

    def __init__(self, path: Path, kind: type[R]) -> None:
        """Read the file, if there is one. A half-written last line, left by a killed run, is dropped.

        Args:
            path: The file.
            kind: The records' class, which has an `id`.

        Raises:
            ValueError: A line is no such record, or an id stands there twice; names the line.
        """
        self.path = path
        self.records: dict[str, R] = {}
        data = path.read_bytes() if path.exists() else b""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
            try:
                record = kind.model_validate_json(line)
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}, is no {kind.__name__}: {error}. The file was left as it is: mend the "
                    "line, or move the file away to begin anew."
                ) from None
            name = _id(record)
            if name in self.records:
                raise ValueError(f"{path}, line {number}: {name} stands there already. Delete one of the two.")
            self.records[name] = record
        if whole < len(data):
            with path.open("rb+") as file:
                file.truncate(whole)

    def add(self, record: R) -> None:
        """Add a record; when this returns, it survives the process and the machine."""
        name = _id(record)
        if name in self.records:
            raise ValueError(f"{name} has a record in {self.path} already; ids must differ.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = _render(record)
        with self.path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise
        self.records[name] = record

    def drop(self, is_dropped: Callable[[R], bool]) -> int:
        """Remove records, at one stroke; return how many."""
        kept = {name: record for name, record in self.records.items() if not is_dropped(record)}
        dropped = len(self.records) - len(kept)
        if dropped:
            self._replace(kept)
        return dropped

    def sort(self, ids: Iterable[str]) -> None:
        """Put the records in the order of the ids, at one stroke.

        Raises:
            ValueError: A record is of none of them; the file is left as it is.
        """
        ordered = {name: self.records[name] for name in ids if name in self.records}
        if unknown := sorted(set(self.records) - set(ordered)):
            raise ValueError(
                f"{self.path} holds a record of {unknown[0]}, which is no question of this arm. Move the file away, or "
                "restore the source it was measured on."
            )
        if [*ordered] != [*self.records]:
            self._replace(ordered)

    def _replace(self, records: dict[str, R]) -> None:
        save_bytes(self.path, b"".join(map(_render, records.values())))
        self.records = records


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock (where the system has locks), so that one process at a time measures under a name.

    Raises:
        ValueError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"Another process is measuring into {folder}. Wait for it to end, or give this config another name."
                ) from None
        yield


def save_settings(
    folder: Path, shared: Mapping[str, Any], drawn: Mapping[str, int], arms: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write what arms were measured under into the folder's settings.json, beside what stands there of others.

    An arm whose file of records is gone is forgotten, and so is free to change.

    Args:
        folder: The folder of results.
        shared: What holds for all arms: "name", "kind", "seed", "prompt_version".
        drawn: How many questions were drawn of each source.
        arms: The settings of each arm, in JSON's types.

    Raises:
        ValueError: There are records that were measured under other settings; names each change.
    """
    path = folder / "settings.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known = {arm: found for arm, found in before.get("arms", {}).items() if (folder / f"{arm}.jsonl").exists()}
    if known:
        _refuse_changes(folder, "", {name: before.get(name) for name in shared}, shared)
    for arm, settings in arms.items():
        if arm in known:
            _refuse_changes(folder, f"{arm}: ", known[arm], settings)
    value = {
        **shared,
        "n": {**(before.get("n", {}) if known else {}), **drawn},
        "arms": {**known, **arms},
        "machine": f"{platform.system()} {platform.machine()}, {physical_cores()} cores",
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def save_bytes(path: Path, data: bytes) -> None:
    """Write a file through to the disk under a temporary name and rename it, so that it is whole or as before."""
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _refuse_changes(folder: Path, place: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    names = [name for name in {**before, **now} if name not in _FREE]
    if changes := [change for name in names for change in _changes((name,), before.get(name), now.get(name))]:
        raise ValueError(
            f"The records in {folder} were measured under other settings: {place}{'; '.join(changes)}. Restore them to "
            "go on, delete the arm's file to measure it anew, or give the config another name."
        )


def _changes(place: Sequence[str], before: Any, now: Any) -> Iterator[str]:
    """Yield what differs, by dotted name."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _changes((*place, name), before.get(name), now.get(name))
    elif before != now:
        yield f"{'.'.join(place)} was {before!r} and is {now!r}"


def _render(record: BaseModel) -> bytes:
    return json.dumps(record.model_dump(exclude_defaults=True), ensure_ascii=False).encode() + b"\n"


def _id(record: BaseModel) -> str:
    return str(record.id)  # type: ignore[attr-defined]  # every kind of record has one
