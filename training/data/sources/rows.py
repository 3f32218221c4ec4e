"""The rows of a dataset, from files or from the Hugging Face hub."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from training.config import DATA, ROOT, Source
from training.example import Split

Row: TypeAlias = dict[str, Any]
Files: TypeAlias = Mapping[Split, tuple[str, ...]]
"""For each split, the files under the data folder that hold it."""

_HUB_SPLIT = {"train": "train", "dev": "validation", "test": "test"}
_SPLIT_IN_NAME: dict[str, Split] = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "test": "test"}


def read_rows(source: Source, files: Files) -> Iterator[Row]:
    """Yield the rows of a source, in order.

    Raises:
        ValueError: There is no such file or hub split, the dataset has no such split, or a file's name says that it
            holds another split than the one asked for.
    """
    if source.hub is not None:
        yield from _hub_rows(source)
        return
    for path in find_files(source, files):
        yield from _read(path)


def find_files(source: Source, files: Files) -> list[Path]:
    """Return the files that hold a source.

    Raises:
        ValueError: As for `read_rows`.
    """
    if source.path is not None:
        paths = [ROOT / source.path.expanduser()]
        words = re.findall(r"[^\W\d_]+", paths[0].stem.casefold())
        named = {_SPLIT_IN_NAME[word] for word in words if word in _SPLIT_IN_NAME}
        if named - {source.split}:
            raise ValueError(
                f'{paths[0]} holds the split "{min(named)}" by its name, and source {source.name!r} asks for '
                f'"{source.split}". Set split = "{min(named)}", or name the right file.'
            )
    elif source.split in files:
        paths = [DATA / name for name in files[source.split]]
    else:
        known = ", ".join(f'"{split}"' for split in files) or "none"
        raise ValueError(
            f'There is no split "{source.split}" of {source.name!r} under {DATA}; there are: {known}. '
            "Set split, or say where the rows are (path or hub)."
        )
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"Source {source.name!r} needs {path}, which is not there. Put it there, or set path or hub."
            )
    return paths


def _read(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; what a reader of its kind raises names the file."""
    is_empty = True
    try:
        for row in read_file(path):
            if not isinstance(row, dict):
                raise ValueError(f"{path} holds {str(row)[:80]!r} where a row is expected, which is an object.")
            is_empty = False
            yield row
    except (OSError, EOFError, ValueError, AttributeError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path} cannot be read: {error}. Expected UTF-8, and the format that its name says."
        ) from None
    if is_empty:
        raise ValueError(f"{path} holds no row. Put questions there, or take the source out.")


def read_file(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet, JSON (a list, or an object of lists or objects) or JSONL file, gzipped or not.

    Some sets call JSONL .json: where a second object follows, it is read as that.

    Raises:
        ValueError: The file's kind is unknown, or a line is no JSON object; names the file and the line.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        import pyarrow.parquet

        yield from pyarrow.parquet.read_table(path).to_pylist()
    elif kind == ".json" and not _is_lines(_text(path)):
        yield from _json_rows(json.loads(_text(path)))
    elif kind in (".json", ".jsonl"):
        for number, line in enumerate(_text(path).split("\n"), start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}, is no JSON: {error}") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{path}, line {number}, is no JSON object: {line[:80]!r}")
                yield row
    else:
        raise ValueError(f"{path} is of an unknown kind; expected .parquet, .json or .jsonl (the latter two also .gz).")


def _is_lines(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _json_rows(value: Any) -> Iterator[Row]:
    if isinstance(value, list):
        yield from value
        return
    if not all(isinstance(inner, (list, dict)) for inner in value.values()):
        yield value  # lines of which there is one
        return
    for key, inner in value.items():
        # MuSiQue by shape is an object of lists; DROP as published an object of passages.
        yield from inner if isinstance(inner, list) else [{"passage_id": key, **inner}]


def _text(path: Path) -> str:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")


def _hub_rows(source: Source) -> Iterator[Row]:
    import datasets

    split, hub = _HUB_SPLIT[source.split], source.hub
    try:
        # Streamed: no second copy in a cache, and a limit reads no more than it must.
        rows = datasets.load_dataset(hub, source.hub_config, split=split, streaming=True)
    except ValueError as error:
        raise ValueError(
            f"{source.hub!r} cannot be read for source {source.name!r}, split {split!r}: {error}"
        ) from None
    yield from rows
