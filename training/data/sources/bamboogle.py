"""Bamboogle: two-hop questions that a search engine answers wrong. Evaluation only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from training.data.sources.rows import Files, Row
from training.example import Example, Split

FILES: Files = {"test": ("bamboogle/Bamboogle.json",)}


def bamboogle(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question and answer; nothing is recorded of a decomposition.

    Whatever split is asked for, they are test questions.
    """
    for number, row in enumerate(rows):
        yield Example(
            id=f"{source}/test-{number}",
            source=source,
            split="test",
            question=row["Question"],
            answers=(row["Answer"],),
        )
