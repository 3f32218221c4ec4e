"""Rows of one's own: JSONL with `question` and, each optional, `id`, `context`, `answers` and `subquestions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.data.sources.rows import Row
from training.example import Example, Recorded, Split


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

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
        yield Example(
            id=f"{source}/{place}/{number if line.id is None else line.id}",
            source=source,
            split=split,
            question=line.question,
            context=line.context,
            answers=line.answers,
            recorded=None if line.subquestions is None else Recorded(subquestions=line.subquestions),
        )
