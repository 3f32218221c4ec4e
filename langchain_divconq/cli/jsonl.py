"""Questions from JSON lines, and records of what became of them: durable, each once, whatever kills the run.

questions   {"id": "q7", "question": "...", "context": "..."}     id and context may be missing; other keys are ignored
records     {"id": "q7", "solution": {...}, "settings": {...}}    or "decomposition", or "evaluation"; {"line": 7, ...}
                                                                  without an id

A failed question has no record: the next run asks it again.
"""

import errno
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.files import sync_folder
from langchain_divconq.types import Question

if sys.platform != "win32":
    import fcntl

Key: TypeAlias = tuple[str, str | int]
"""What a record is known by: ("id", what the line names) or ("line", the line's number)."""

Record: TypeAlias = dict[str, Any]

_KEY_NAMES = {"id", "line"}


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

    `source` names them in messages; `context` is for questions that bring none.

    Raises:
        InvalidQuestionError: There is no question, a line holds none, or its id stands there already.
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
    if not items:
        raise InvalidQuestionError(f'{source} holds no question. Write one a line: {{"question": "..."}}')
    return [item for _, item in items.values()]


def _read_item(line: bytes, number: int, place: str, context: str | None) -> Item:
    excerpt = repr(line.strip()[:80].decode(errors="replace"))
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise InvalidQuestionError(
            f"{place}: this is UTF-16 or no text at all, and UTF-8 was expected. Convert it: iconv -f UTF-16 -t UTF-8"
        )
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidQuestionError(f"{place}: this is no UTF-8 ({error.reason}): {excerpt}") from error
    except (ValueError, RecursionError) as error:
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


class RecordFile:
    """A file to which records are added, one durable line each, and which knows what earlier runs finished.

    Each record keeps the settings it was made with, so that a run with others is refused. Nothing in the file is ever
    changed but a half-written last line, left by a run that was killed: the next record takes its place. One run at a
    time may hold the file (where the system has locks).

    Attributes:
        finished: What each record holds.
    """

    def __init__(self, path: Path, kind: str, settings: Record | None = None) -> None:
        """Open the file, or begin it.

        `kind` is what records hold: "solution", "decomposition" or "evaluation"; results depend on `settings`.

        Raises:
            ConfigurationError: The file holds something else, was made with other settings, is no regular file or
                cannot be opened, or another run is writing it.
        """
        self._path, self._kind = path, kind
        self._settings = json.loads(json.dumps(settings or {}))
        self.finished: dict[Key, Record] = {}
        self._end = 0
        try:
            if path.exists() and not path.is_file():
                raise OSError("it is no regular file (leave out --output to write to stdout)")
            self._file = path.open("a+b", 0)
        except OSError as error:
            raise ConfigurationError(f"--output {path}: the file cannot be opened: {error}") from error
        try:
            self._lock()
            self._file.seek(0)
            for number, line in enumerate(self._file, start=1):
                if not line.endswith(b"\n") and _is_half_written(line):
                    break
                self._read(line, f"{path}:{number}")
                self._end += len(line)
                if not line.endswith(b"\n"):
                    self._end += self._file.write(b"\n")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "RecordFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Add a record, which then survives process and machine; after a ConfigurationError the file is as it was."""
        line = json.dumps({**record, "settings": self._settings}, ensure_ascii=False) + "\n"
        data = line.encode(errors="backslashreplace")  # half a surrogate pair: in JSON, too, this is its escape
        try:
            self._file.truncate(self._end)
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # a half-written line is no harm
                self._file.truncate(self._end)
            raise ConfigurationError(
                f"{self._path} cannot be written: {error}. What was finished is kept; make room, and run the same "
                "command again."
            ) from error
        self._end += len(data)
        self._keep(record)

    def is_finished(self, item: Item) -> bool:
        """Return whether an earlier run finished this question; another of the same key raises ConfigurationError."""
        if item.key not in self.finished:
            return False
        if (asked := _question(self.finished[item.key])) != item.question.model_dump(mode="json"):
            raise _refused(
                f"{self._path} holds the answer to another question under {item.name}: {asked!r:.200}, and the input "
                f"asks {item.question.text!r:.200}."
            )
        return True

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise _refused(f"Another run is writing {self._path}. Wait for it.") from None
        sync_folder(Path(os.path.realpath(self._path)).parent)

    def _keep(self, record: Record) -> None:
        [name] = _KEY_NAMES & record.keys()
        self.finished[name, record[name]] = record[self._kind]

    def _read(self, line: bytes, place: str) -> None:
        try:
            record = json.loads(line)
            settings = dict(record["settings"])
            _question(record[self._kind])
            self._keep(record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            found = repr(line[:80].decode(errors="replace"))
            raise _refused(
                f"{place} holds no {self._kind} of an earlier run: {found}; the file was left as it is."
            ) from error
        for one in sorted(settings.keys() | self._settings):
            if (old := settings.get(one)) != (new := self._settings.get(one)):
                raise _refused(f"{self._path} was made with {one} {old!r}, and now it is {new!r}.")


def _refused(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what} Name another --output, or delete the file.")


def _is_half_written(line: bytes) -> bool:
    """Return whether a line without an end is the beginning of a record, rather than the end of somebody's file."""
    try:
        json.loads(line)
    except ValueError:
        return any(start.startswith(line[: len(start)]) for start in (b'{"id": ', b'{"line": '))
    return False


def _question(held: Record) -> Any:
    """Return the question of what a record holds; a solution's stands in its decomposition."""
    return held.get("decomposition", held)["question"]
