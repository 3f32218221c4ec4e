"""Everyday questions with plans, written for this project: what people ask, divided or left whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from training.config import ROOT
from training.data.sources.rows import Files, Row
from training.example import Example, Recorded, Split

_OWN = ROOT / "training" / "demonstrations"

FILES: Files = {
    "train": (
        "everyday/chains_and_comparisons.jsonl",
        "everyday/work_and_agents.jsonl",
        "everyday/when_to_divide.jsonl",
        *sorted(str(path) for path in _OWN.glob("*.jsonl")),
    ),
    "dev": ("everyday/dev.jsonl",),
}
MORE: Files = {"train": tuple(sorted(str(path) for path in (_OWN / "more").glob("*.jsonl")))}
THIRD: Files = {"train": tuple(sorted(str(path) for path in (_OWN / "third").glob("*.jsonl")))}
HELD_OUT: Files = {"train": tuple(sorted(str(path) for path in (_OWN / "held_out").glob("*.jsonl")))}
LANGUAGES: Files = {"train": ("everyday/languages.jsonl",)}


def everyday(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the questions with their plans; one in another language than English stays whole in training."""
    for row in rows:
        whole = split == "train" and row["language"] != "en"
        yield Example(
            id=f"{source}/{row['id']}",
            source=source,
            split=split,
            question=row["question"].strip(),
            context=row["context"],
            recorded=Recorded(subquestions=() if whole else tuple(row["subquestions"]), reviewed=True),
        )
