"""Questions of two hops, evaluation only: nothing is recorded of a decomposition. Each set has one split, asked or not.

Bamboogle's are such that a search engine answers wrong; HotpotQA's go over two articles.
"""

from collections.abc import Iterable, Iterator

from training.data.sources.rows import Files, Row
from training.example import Example, Split

BAMBOOGLE: Files = {"test": ("bamboogle/Bamboogle.json",)}
HOTPOTQA: Files = {"dev": ("multihop/migres/hotpot.json",)}


def bamboogle(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question and answer."""
    for number, row in enumerate(rows):
        yield Example.of(source, "test", f"test-{number}", row["Question"], answers=(row["Answer"],))


def hotpotqa(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question and answer."""
    for row in rows:
        yield Example.of(source, "dev", row["_id"], row["question"].strip(), answers=(row["answer"],))
