"""DROP: questions about a passage that need counting, comparing or arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from training.example import Example, Recorded, Split
from training.sources.qdmr import ask_steps
from training.sources.rows import Files, Row

FILES: Files = {"train": ("drop/drop_dataset_train_sample.json",), "dev": ("drop/drop_v0_dev.jsonl.gz",)}
QDMR_FILES: Files = {
    "train": ("drop/qdmr/train.json", "drop/qdmr/dev.json"),
    "dev": ("drop/qdmr/train.json", "drop/qdmr/dev.json"),
}
"""Both files hold rows of both of DROP's splits: each row's identifier tells which."""

_PUBLISHED = re.compile(r"\APassage:\s*(.*?)\s*\nQuestion:\s*(.*?)\s*\nAnswer:\s*\Z", re.DOTALL)


def drop(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question, passage and all reference answers; a question asked twice is one, with the answers of both."""
    merged: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for number, row in enumerate(rows):
        for name, passage, question, answers in _questions(row, f"{split}-{number}"):
            merged.setdefault((passage, question), (name, []))[1].extend(answers)
    for (passage, question), (name, answers) in merged.items():
        yield Example(
            id=f"{source}/{name}",
            source=source,
            split=split,
            question=question,
            context=passage,
            answers=tuple(dict.fromkeys(answer for answer in answers if answer)),
        )


def qdmr(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield DROP questions (without their passage), with their formal decomposition where it can be put in words."""
    for row in rows:
        name = row["question_id"]
        if name.startswith(f"DROP_{split}_"):
            steps = ask_steps(row["decomposition"])
            yield Example(
                id=f"{source}/{name}",
                source=source,
                split=split,
                question=row["question_text"].strip(),
                recorded=None if steps is None else Recorded(subquestions=steps),
            )


def _questions(row: Row, name: str) -> Iterator[tuple[str, str, str, list[str]]]:
    if "ref_text" in row:
        match = _PUBLISHED.match(row["context"])
        if match is None:
            raise ValueError(f"Row {name} of DROP has no passage and question: {row['context'][:80]!r}")
        yield name, match[1], match[2], row["ref_text"].split("|")
    elif "qa_pairs" in row:
        for pair in row["qa_pairs"]:
            answers = [_answer(given) for given in [pair["answer"], *pair.get("validated_answers", [])]]
            yield f"{row['passage_id']}_{pair['query_id']}", row["passage"].strip(), pair["question"].strip(), answers
    else:  # as on the hub
        yield row["query_id"], row["passage"].strip(), row["question"].strip(), list(row["answers_spans"]["spans"])


def _answer(given: Row) -> str:
    date = " ".join(part for part in (given["date"].get(key, "") for key in ("day", "month", "year")) if part)
    return str(given["number"]) or " and ".join(given["spans"]) or date
