"""DROP: questions about a passage that need counting, comparing or arithmetic."""

import re
from collections.abc import Iterable, Iterator
from zlib import crc32

from training.data.sources.qdmr import ask_steps
from training.data.sources.rows import Files, Row
from training.example import Example, Recorded, Split

FILES: Files = {"train": ("drop/drop_dataset_train_sample.json",), "dev": ("drop/drop_v0_dev.jsonl.gz",)}
QDMR_FILES: Files = {
    "train": ("drop/drop_dataset_train_sample.json", "drop/qdmr/train.json", "drop/qdmr/dev.json"),
    "dev": ("drop/qdmr/train.json", "drop/qdmr/dev.json"),
}
"""Both of QDMR's files hold rows of both of DROP's splits: each row's identifier tells which."""

_WITH_CONTEXT = 50
"""Percent of the QDMR training questions that are asked with a passage."""

_LONGEST_CONTEXT = 120  # words
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")

_PUBLISHED = re.compile(r"\APassage:\s*(.*?)\s*\nQuestion:\s*(.*?)\s*\nAnswer:\s*\Z", re.DOTALL)


def drop(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield question, passage and all reference answers; a question asked twice is one, with the answers of both."""
    merged: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for number, row in enumerate(rows):
        for name, passage, question, answers in _questions(row, f"{split}-{number}"):
            merged.setdefault((passage, question), (name, []))[1].extend(answers)
    for (passage, question), (name, answers) in merged.items():
        once = tuple(dict.fromkeys(filter(None, answers)))
        yield Example.of(source, split, name, question, context=passage, answers=once)


def qdmr(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield DROP questions, with their formal decomposition where it can be put in words.

    QDMR was written without the passages, and they are not with it. Where the rows bring passages of DROP's train
    split (see `QDMR_FILES`), some training questions get the beginning of one on their subject, though not their own:
    a student that sees passages must still plan by the question, and learn that with one, too, there may be one step.
    """
    passages: dict[str, list[str]] = {}
    for row in rows:
        if "passage" in row:
            passages.setdefault(row["passage_id"].split("_")[0], []).append(_beginning(row["passage"]))
            continue
        name = row["question_id"]
        if name.startswith(f"DROP_{split}_"):
            steps = ask_steps(row["decomposition"])
            recorded = None if steps is None else Recorded(subquestions=steps)
            lot, at_hand = crc32(name.encode()), passages.get(name.split("_")[2], [])
            context = at_hand[lot // 100 % len(at_hand)] if at_hand and lot % 100 < _WITH_CONTEXT else None
            yield Example.of(source, split, name, row["question_text"].strip(), context=context, recorded=recorded)


def _beginning(passage: str) -> str:
    """Return the first sentences of a passage, at least one of them."""
    kept: list[str] = []
    for sentence in _SENTENCE_END.split(passage.strip()):
        if kept and sum(len(text.split()) for text in (*kept, sentence)) > _LONGEST_CONTEXT:
            break
        kept.append(sentence)
    return " ".join(kept)


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
