"""Rows of one's own: JSONL with `question` and, each optional, `id`, `context`, `answers` and `subquestions`."""

from collections.abc import Iterable, Iterator

from pydantic import Field, ValidationError

from training.data.sources.rows import Row
from training.example import Example, Recorded, Split
from training.store import Frozen


class _Line(Frozen):
    id: str | int | None = None
    question: str = Field(min_length=1, pattern=r"\S")
    context: str | None = None
    answers: tuple[str, ...] = ()
    subquestions: tuple[str, ...] | None = None


def plain(rows: Iterable[Row], source: str, split: Split, place: str) -> Iterator[Example]:
    """Yield the rows as they are.

    `place` is where they come from: it is named in errors, and part of the identifiers.

    Raises:
        ValueError: A row cannot be used; names the place and the row.
    """
    for number, row in enumerate(rows, start=1):
        try:
            line = _Line.model_validate(row)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{place}, row {number}, cannot be used: {wrong}") from None
        name = f"{place}/{number if line.id is None else line.id}"
        recorded = None if line.subquestions is None else Recorded(subquestions=line.subquestions)
        known = line.model_dump(include={"question", "context", "answers"})
        yield Example.of(source, split, name, **known, recorded=recorded)
