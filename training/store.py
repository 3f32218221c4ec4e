"""Files that outlive whatever stops a run: written whole or not at all, held by one process, records kept by id."""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, TypeAdapter

from langchain_divconq.files import sync_folder


class Frozen(BaseModel):
    """What is written to files and read from them: it never changes, and has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Identified(Protocol):
    """What `Records` keeps: anything with an id."""

    @property
    def id(self) -> str:
        """What the record is known by."""


R = TypeVar("R", bound=Identified)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; once the block ends well, its file is flushed and takes the name `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    yield temporary
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def save_text(path: Path, text: str) -> None:
    """Write a file whole, as UTF-8."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file whole."""
    save_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder; the system lets go of it however this process ends.

    Raises:
        ValueError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(
            f"Another process is at work in {folder}. Wait for it to end, or give this config another name."
        ) from None
    with lock:
        yield


class Change(NamedTuple):
    """A setting that differs. `name` is dotted."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {self.before!r} and is {self.now!r}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[Change]:
    """Yield the settings that differ; what is missing counts as None."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes(old, new, f"{prefix}{name}.")
        elif old != new:
            yield Change(prefix + name, old, new)


def refuse_changes(found: Iterable[Change], what: str, mend: str) -> None:
    """Refuse to go on with what was made under other settings.

    `what` names what was made ("The records in results/try"), `mend` says what to do besides restoring the settings.

    Raises:
        ValueError: Something differs; names each change.
    """
    if listed := "; ".join(map(str, found)):
        raise ValueError(f"{what} were made under other settings: {listed}. Restore them to go on, or {mend}.")


class Records(Generic[R]):
    """A file of JSON lines, a record each, kept by id. One process at a time may write it (see `hold`), on any thread.

    Its settings, what the records depend on, lie beside it with the ending .json. Other settings are refused.
    """

    def __init__(self, path: Path, kind: type[R], settings: Mapping[str, Any] | None = None) -> None:
        """Read the file, if there is one. A half-written last line, left by a killed run, is not read, and overwritten.

        `kind` is the records' type, as pydantic reads it; each has an `id`. `settings` are what they depend on, in
        JSON's types; None: that is kept elsewhere.

        Raises:
            ValueError: A line is no such record, an id stands there twice, or the records are of other settings.
        """
        self.path = path
        self.records: dict[str, R] = {}
        self._type: TypeAdapter[R] = TypeAdapter(kind)
        self._lock = threading.Lock()
        self._settings_path = path.with_suffix(".json")
        data = path.read_bytes() if path.exists() else b""
        self._size = data.rfind(b"\n") + 1
        for number, line in enumerate(data[: self._size].split(b"\n")[:-1], start=1):
            record = self._read(number, line)
            if record.id in self.records:
                raise ValueError(f"{path}, line {number}: {record.id} stands there already. Delete one of the two.")
            self.records[record.id] = record
        if settings is not None:
            self._keep(settings)

    def add(self, record: R) -> None:
        """Add a record; when this returns, it survives the process and the machine.

        Raises:
            ValueError: There is one of this id.
        """
        with self._lock:
            if record.id in self.records:
                raise ValueError(f"{record.id} has a record in {self.path} already; ids must differ.")
            self._write(self._render(record))
            self.records[record.id] = record

    def drop(self, is_dropped: Callable[[R], bool]) -> None:
        """Remove records, at one stroke."""
        kept = {name: record for name, record in self.records.items() if not is_dropped(record)}
        if len(kept) < len(self.records):
            self._replace(kept)

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

    def remove(self) -> None:
        """Remove the file and its settings, once what was made of them is complete."""
        self.path.unlink(missing_ok=True)
        self._settings_path.unlink(missing_ok=True)

    def _read(self, number: int, line: bytes) -> R:
        try:
            return self._type.validate_json(line)
        except ValueError as error:
            raise ValueError(
                f"{self.path}, line {number}, is no record of its kind: {error}. The file was left as it is: mend the "
                "line, or move the file away to begin anew."
            ) from None

    def _keep(self, settings: Mapping[str, Any]) -> None:
        path = self._settings_path
        before = json.loads(path.read_bytes()) if path.exists() else {}
        if before == settings:
            return
        if self.records:
            refuse_changes(changes(before, settings), f"The records in {self.path}", "delete the file to begin anew")
        save_json(path, settings)

    def _render(self, record: R) -> bytes:
        value = self._type.dump_python(record, mode="json", exclude_defaults=True)
        return json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"

    def _write(self, line: bytes) -> None:
        """Write a line through to the disk; what cannot be written whole is taken back."""
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self._size)
            try:
                left = line
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(self._size)
                raise
        self._size += len(line)
        if is_new:
            sync_folder(self.path.parent)

    def _replace(self, records: dict[str, R]) -> None:
        data = b"".join(map(self._render, records.values()))
        with whole(self.path) as temporary:
            temporary.write_bytes(data)
        self.records, self._size = records, len(data)
