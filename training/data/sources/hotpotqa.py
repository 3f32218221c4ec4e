"""HotpotQA: questions over two articles. Evaluation only: nothing is recorded of a decomposition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from training.data.sources.rows import Files, Row
from training.example import Example, Split

FILES: Files = {"dev": ("multihop/migres/hotpot.json",)}


def hotpotqa(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question and answer. Whatever split is asked for, they are dev questions."""
    for row in rows:
        yield Example(
            id=f"{source}/{row['_id']}",
            source=source,
            split="dev",
            question=row["question"].strip(),
            answers=(row["answer"],),
        )
