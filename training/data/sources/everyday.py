"""Everyday questions with plans, written for this project: what people ask, divided or left whole."""

from collections.abc import Iterable, Iterator

from training.config import ROOT
from training.data.sources.rows import Files, Row
from training.example import Example, Recorded, Split


def _own(folder: str = "") -> tuple[str, ...]:
    return tuple(sorted(str(path) for path in (ROOT / "training" / "demonstrations" / folder).glob("*.jsonl")))


FILES: Files = {
    "train": (
        "everyday/chains_and_comparisons.jsonl",
        "everyday/work_and_agents.jsonl",
        "everyday/when_to_divide.jsonl",
        *_own(),
    ),
    "dev": ("everyday/dev.jsonl",),
}
MORE: Files = {"train": _own("more")}
THIRD: Files = {"train": _own("third")}
HELD_OUT: Files = {"train": _own("held_out")}
LANGUAGES: Files = {"train": ("everyday/languages.jsonl",)}


def everyday(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the questions with their plans; one in another language than English stays whole in training."""
    for row in rows:
        whole = split == "train" and row["language"] != "en"
        recorded = Recorded(subquestions=() if whole else tuple(row["subquestions"]), reviewed=True)
        question, context = row["question"].strip(), row["context"]
        yield Example.of(source, split, row["id"], question, context=context, recorded=recorded)
