"""Questions from JSON lines, and records of what became of them: durable, each once, whatever kills the run.

questions   {"id": "q7", "question": "...", "context": "..."}     id and context may be missing; other keys are ignored
finished    {"id": "q7", "solution": {...}}    or "decomposition", or "evaluation"; {"line": 7, ...} without an id
failed      {"id": "q7", "question": {...}, "error": "..."}       asked again by the next run
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.types import Question

if sys.platform != "win32":
    import fcntl

Key: TypeAlias = tuple[str, str | int]
"""What a record is known by: ("id", what the line names) or ("line", the line's number)."""

Record: TypeAlias = dict[str, Any]

_KEY_NAMES = ("id", "line")
_RESULTS = ("solution", "decomposition", "evaluation", "error")


@dataclass(frozen=True)
class Item:
    """One question of a file, and what its record is known by."""

    key: Key
    question: Question

    @property
    def name(self) -> str:
        """The key in words."""
        return " ".join(map(str, self.key))

    def record(self, **result: Any) -> Record:
        """Return the record of what became of the question."""
        return {self.key[0]: self.key[1], **result}


def read_items(lines: Iterable[bytes], source: str, context: str | None = None) -> list[Item]:
    """Return the questions of JSON lines, all of them checked; blank lines are passed over.

    Args:
        lines: The lines, as UTF-8.
        source: Their file's name, for messages.
        context: For questions that bring none.

    Raises:
        InvalidQuestionError: A line is no JSON object, its question is none, or its id stands there already.
    """
    items: dict[Key, tuple[int, Item]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{source}:{number}"
            item = _read_item(line, number, place, context)
            if item.key in items:
                raise InvalidQuestionError(
                    f"{place}: the id {item.key[1]!r} stands in line {items[item.key][0]} already; ids must differ."
                )
            items[item.key] = (number, item)
    return [item for _, item in items.values()]


def _read_item(line: bytes, number: int, place: str, context: str | None) -> Item:
    excerpt = repr(line.strip()[:80].decode(errors="replace"))
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InvalidQuestionError(f"{place}: this is no JSON ({error}): {excerpt}") from error
    if not isinstance(value, dict) or "question" not in value:
        raise InvalidQuestionError(
            f'{place}: expected {{"question": "..."}}, perhaps with "id" and "context", got {excerpt}'
        )
    name = value.get("id")
    if name is not None and (not isinstance(name, (str, int)) or isinstance(name, bool)):
        raise InvalidQuestionError(f"{place}: an id must be text or a whole number, got {name!r}.")
    own = value.get("context")
    try:
        question = Question.from_input({"question": value["question"], "context": context if own is None else own})
    except InvalidQuestionError as error:
        raise InvalidQuestionError(f"{place}: {error}") from error
    return Item(("line", number) if name is None else ("id", name), question)


def render_record(record: Record, *, ascii_only: bool = False) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(record, ensure_ascii=ascii_only)


class RecordFile:
    """A file to which records are added, one durable line each, and which knows what earlier runs finished.

    A half-written last line, left by a run that was killed, and the records of failed questions are dropped before the
    first record is added: they are asked again. Until then the file is left as it is, since it may turn out that of
    another input. One run at a time may hold it (where the system has locks).

    Attributes:
        finished: The question of each finished record.
    """

    def __init__(self, path: Path, kind: str) -> None:
        """Open the file, or begin it.

        Args:
            path: The file.
            kind: What finished records hold: "solution", "decomposition" or "evaluation".

        Raises:
            ConfigurationError: The file holds something else, or another run is writing it.
            OSError: It cannot be read or written.
        """
        self._path = path
        self._file = self._open()
        try:
            self.finished, self._has_leftovers = self._read_records(kind)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Add a record; when this returns, it survives the process and the machine."""
        try:
            line = render_record(record).encode()
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write as an escape and UTF-8 cannot
            line = render_record(record, ascii_only=True).encode()
        self.drop_leftovers()
        _write(self._file, line + b"\n")

    def drop_leftovers(self) -> None:
        """Leave in the file the records of finished questions alone."""
        if self._has_leftovers:
            self._rewrite()
            self._has_leftovers = False

    def is_finished(self, item: Item) -> bool:
        """Return whether an earlier run finished this question.

        Raises:
            ConfigurationError: It finished another question under the same id or line.
        """
        if item.key not in self.finished:
            return False
        if self.finished[item.key] != item.question.model_dump(mode="json"):
            raise ConfigurationError(
                f"{self._path} holds the answer to another question under {item.name}: "
                f"{self.finished[item.key]!r:.200}, and the input asks {item.question.text!r:.200}. "
                "Name another --output."
            )
        return True

    def _open(self) -> BinaryIO:
        file = self._path.open("ab", buffering=0)
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between opening and locking, another run may have put a new file in this one's place.
                ours = os.path.samestat(os.fstat(file.fileno()), self._path.stat())
            except OSError:
                ours = False
            if not ours:
                file.close()
                raise ConfigurationError(f"Another run is writing {self._path}. Wait for it, or name another --output.")
        _sync_folder(Path(os.path.realpath(self._path)).parent)
        return file

    def _read_records(self, kind: str) -> tuple[dict[Key, Any], bool]:
        """Return the question of each finished record, and whether there is anything else in the file."""
        finished: dict[Key, Any] = {}
        has_leftovers = False
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n") and _is_half_written(line):
                    has_leftovers = True  # even where only the line's end is missing
                    break
                key, record = self._read(line, number)
                if "error" in record:
                    has_leftovers = True
                elif kind not in record:
                    [other] = set(_RESULTS) & set(record)
                    raise ConfigurationError(
                        f"{self._path}:{number} holds a {other}, and this run makes a {kind} of each question. "
                        "Name another --output."
                    )
                elif key in finished:
                    raise ConfigurationError(
                        f"{self._path}:{number}: there is a record of {key[0]} {key[1]} before this line already. "
                        "Delete one of the two, or name another --output."
                    )
                else:
                    finished[key] = _asked(record)
        return finished, has_leftovers

    def _read(self, line: bytes, number: int) -> tuple[Key, Record]:
        try:
            record = json.loads(line)
            [name] = [name for name in _KEY_NAMES if name in record]
            [_] = [result for result in _RESULTS if result in record]
            if not isinstance(record[name], (str, int)):
                raise TypeError(name)
            if "error" not in record:
                _asked(record)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{self._path}:{number} is no record of an earlier run: {line[:80].decode(errors='replace')!r}. "
                "Name another --output; this file was left as it is."
            ) from error
        return (name, record[name]), record

    def _rewrite(self) -> None:
        """Put a file with the finished records alone in this one's place, at one stroke."""
        path = Path(os.path.realpath(self._path))  # a link stays one, and the file it names is replaced
        temporary = path.with_name(f"{path.name}.tmp")
        with path.open("rb") as lines, temporary.open("wb") as kept:
            shutil.copymode(path, temporary)  # before there is anything in it to read
            for line in lines:
                if line.endswith(b"\n") and "error" not in json.loads(line):
                    kept.write(line)
            kept.flush()
            os.fsync(kept.fileno())
        old = self._file
        if sys.platform == "win32":
            old.close()  # an open file cannot be replaced there
        os.replace(temporary, path)
        self._file = self._open()
        old.close()


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of it through to the disk; what cannot be written whole is taken back."""
    start = file.seek(0, os.SEEK_END)
    try:
        written = 0
        while written < len(data):
            written += file.write(data[written:])
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(start)
        raise


def _sync_folder(folder: Path) -> None:
    """Write a folder through to the disk: it keeps which file a name stands for."""
    if sys.platform != "win32":  # where a folder cannot be opened
        with suppress(OSError):  # one may be written into that cannot be read, and not every file system syncs folders
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _is_half_written(line: bytes) -> bool:
    """Return whether a line without an end is the beginning of a record, rather than the end of somebody's file."""
    try:
        value = json.loads(line)
    except ValueError:
        beginnings = [f'{{"{name}": '.encode() for name in _KEY_NAMES]
        return any(line.startswith(beginning) or beginning.startswith(line) for beginning in beginnings)
    return isinstance(value, dict) and any(result in value for result in _RESULTS)


def _asked(record: Record) -> Any:
    """Return the question of a finished record."""
    if "evaluation" in record:
        return record["evaluation"]["question"]
    decomposition = record["solution"]["decomposition"] if "solution" in record else record["decomposition"]
    return decomposition["question"]
