"""The corpus of multi-hop retrieval: paragraphs of evidence, and questions with a gold paragraph for each hop."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from langchain_core.documents import Document

from langchain_divconq.types import MAX_SUBQUESTIONS, fill_references
from training.data.plans import recorded_plan
from training.data.sources.musique import musique
from training.data.sources.rows import Row, read_file
from training.example import Example, Split

SOURCE = "musique"
QUESTIONS = "musique/musique_dev_500.json"
MUSIQUE_TRAIN = "musique/musique-qa__auto-cot_train.json"
HOTPOTQA_TRAIN = "hotpotqa/hotpotqa_train_500.json"


@dataclass(frozen=True)
class Hop:
    """One hop of a question, as the dataset records it."""

    subquestion: str
    """In a plan's form, `#n` for the answer to an earlier hop."""
    filled: str
    """The same with the gold answers in the references' place."""
    answer: str
    """The gold answer."""
    passage: str
    """The id of the document that tells it."""


@dataclass(frozen=True)
class MultiHop:
    """A question with its hops, in order, and its gold passages."""

    example: Example
    """The question."""
    hops: tuple[Hop, ...]
    """As the dataset records them; none where it records none, or no plan comes of them."""
    gold: tuple[str, ...]
    """The ids of the documents that answer it."""

    @property
    def id(self) -> str:
        """The example's."""
        return self.example.id

    @cached_property
    def plan(self) -> tuple[str, ...]:
        """The reference plan: a subquestion for each hop, whatever their number."""
        return tuple(hop.subquestion for hop in self.hops)


def passages(data: Path) -> list[Document]:
    """Return every evidence paragraph of MuSiQue dev and train and of HotpotQA train, each once, in the files' order.

    A document's id is made of its text alone: which other documents there are makes no difference to it.

    Raises:
        ValueError: A file is missing there.
    """
    rows = [row for name in (QUESTIONS, MUSIQUE_TRAIN, HOTPOTQA_TRAIN) for row in _rows(data, name)]
    texts = dict.fromkeys(_paragraph(text) for row in rows for text in _evidence(row))
    return [Document(text, id=_name(text)) for text in texts]


def questions(data: Path) -> list[MultiHop]:
    """Return MuSiQue's dev questions, each with its hops; one that is asked twice is there once.

    Raises:
        ValueError: The file is missing, or a question's hops make no plan; names the question.
    """
    return [_with_hops(example, evidence) for example, evidence in _musique(data, QUESTIONS, "dev")]


def training_questions(data: Path) -> list[MultiHop]:
    """Return MuSiQue's training questions that have their evidence, each without context and with its hops.

    Raises:
        ValueError: The file is missing.
    """
    found = []
    for example, evidence in _musique(data, MUSIQUE_TRAIN, "train"):
        with suppress(ValueError):  # a few rows make no plan of as many subquestions as they have hops
            found.append(_with_hops(example.model_copy(update={"context": None}), evidence))
    return found


def hops_of(plan: Sequence[str], answers: Sequence[str], gold: Sequence[str]) -> tuple[Hop, ...]:
    """Return the hops that subquestions, their answers and the passages that tell these make."""
    known = dict(enumerate(answers, start=1))
    return tuple(
        Hop(subquestion, fill_references(subquestion, known), answer, passage)
        for subquestion, answer, passage in zip(plan, answers, gold, strict=False)
    )


def corpus_fingerprint(documents: Iterable[Document]) -> str:
    """Return a mark of the documents and their order, for a measurement's settings."""
    return hashlib.sha256("".join(f"{document.id}\n" for document in documents).encode()).hexdigest()[:16]


def _musique(data: Path, name: str, split: Split) -> Iterator[tuple[Example, list[str]]]:
    """Yield each question of a file with its evidence; of one that stands there twice, the first."""
    rows = list(_rows(data, name))
    evidence = {row["question"].strip(): _evidence(row) for row in reversed(rows)}
    return ((example, evidence[example.question]) for example in musique(rows, SOURCE, split))


def _with_hops(example: Example, evidence: list[str]) -> MultiHop:
    plan = recorded_plan(example, MAX_SUBQUESTIONS, "drop")
    answers = (example.recorded and example.recorded.subanswers) or ()
    if not len(plan) == len(answers) == len(evidence):
        raise ValueError(
            f"{example.id} has {len(evidence)} gold passages, {len(answers)} answers and a plan of {len(plan)} "
            "subquestions; expected as many of each, one to a hop. Mend the row, or leave it out."
        )
    gold = tuple(_name(_paragraph(text)) for text in evidence)
    return MultiHop(example, hops_of(plan, answers, gold), gold)


def _rows(data: Path, name: str) -> Iterator[Row]:
    if not (data / name).is_file():
        raise ValueError(f"The passages come from {data / name}, which is not there. Put it there, or set data.")
    return read_file(data / name)


def _evidence(row: Row) -> list[str]:
    """Return a row's paragraphs: MuSiQue has one to a hop, HotpotQA a list of them."""
    return [hop["evidence"] for hop in row["decomposition"]] if "decomposition" in row else list(row["evidence"])


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
