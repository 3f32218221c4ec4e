"""The record that flows through the stages, what is left out on the way, and the files they rest in.

Each stage returns a copy with one more field. None: the stage has not run. (): there is nothing to divide.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError

from langchain_divconq import Question
from training.store import Frozen, save_json, save_text

Split: TypeAlias = Literal["train", "dev", "test"]


class Recorded(Frozen):
    """A demonstration that comes with a dataset, as published but for form: not yet capped, nor screened."""

    subquestions: tuple[str, ...]
    """In order, references as `#n`; empty: the question is one step."""
    subanswers: tuple[str, ...] | None = None
    """The recorded answer to each; None: there are none."""
    working: str | None = None
    """The recorded working from the subanswers to the final answer; None: there is none."""
    prediction: str | None = None
    """The recorded final answer, which may be wrong; None: there is none."""
    reviewed: bool = False
    """Whether the plan was written for this project and read twice: it is taken as it is."""


ONE_STEP = Recorded(subquestions=())


class Example(Frozen):
    """A question on its way from a dataset to a student."""

    id: str = Field(min_length=1)
    """Unique among all sources: the source's name, a slash, and the dataset's own identifier."""
    source: str
    """Where it comes from, as a config names it."""
    split: Split
    """The dataset's own split. Only "train" trains."""
    question: str = Field(min_length=1)
    """In words."""
    context: str | None = None
    """The passage or premise it is about."""
    answers: tuple[str, ...] = ()
    """Gold answers, any of which is right; empty: unknown."""
    recorded: Recorded | None = None
    """What the dataset records of a decomposition."""
    subquestions: tuple[str, ...] | None = None
    """After the demonstrate stage: the plan the student is to write."""
    subanswers: tuple[str, ...] | None = None
    """After the screen stage: what the solver said to each subquestion."""
    working: str | None = None
    """After the screen stage: what the solver wrote from there to its final answer; None: nothing."""
    prediction: str | None = None
    """After the screen stage: the solver's final answer; "" where it gave none."""

    @classmethod
    def of(cls, source: str, split: Split, name: str, question: str, **known: Any) -> Self:
        """Return a dataset's example by what the dataset calls it; `known` are its other fields."""
        return cls(id=f"{source}/{name}", source=source, split=split, question=question, **known)

    @property
    def asked(self) -> Question:
        """The question as the library takes it."""
        return Question(text=self.question, context=self.context)


class LeftOut(Frozen):
    """An example that a stage can make nothing of."""

    id: str
    """The example's."""
    reason: str
    """Why, in a few words that are the same for all examples it holds for, so that they can be counted."""


Outcome: TypeAlias = Example | LeftOut


def save_examples(examples: Iterable[Example], path: Path) -> None:
    """Write examples as JSONL, whole: a file that exists is complete."""
    save_text(path, "".join(example.model_dump_json(exclude_defaults=True) + "\n" for example in examples))


def load_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a JSONL file.

    Raises:
        ValueError: A line is no example; names the file and the line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Example.model_validate(json.loads(line))
            except (ValidationError, ValueError) as error:
                raise ValueError(f"{path}, line {number}, is no example: {error}") from error


def choose(examples: Iterable[Example], limit: int | None, seed: int) -> dict[str, list[Example]]:
    """Return at most `limit` examples of each source; which ones depends on the seed and their ids alone."""
    by_source: dict[str, list[Example]] = {}
    for example in examples:
        by_source.setdefault(example.source, []).append(example)

    def lot(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}/{example.id}".encode()).digest()

    return {source: sorted(found, key=lot)[:limit] for source, found in sorted(by_source.items())}


def examples_fingerprint(examples: Iterable[Example]) -> str:
    """Return a mark of the examples and their order, for settings."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.model_dump_json(exclude_defaults=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def kept(outcomes: Iterable[Outcome]) -> list[Example]:
    """Return the examples among the outcomes, in order."""
    return [outcome for outcome in outcomes if isinstance(outcome, Example)]


def save_left_out(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write what was left out and why as JSON: ids alone, no text."""
    left_out = {outcome.id: outcome.reason for outcome in outcomes if isinstance(outcome, LeftOut)}
    save_json(path, {"counts": dict(Counter(left_out.values()).most_common()), "examples": left_out})


def render_counts(outcomes: Iterable[Outcome]) -> str:
    """Return a table of how many were kept and how many left out for which reason."""
    reasons = Counter(outcome.reason if isinstance(outcome, LeftOut) else None for outcome in outcomes)
    rows = [(reasons.pop(None, 0), "kept")]
    rows += [(count, f"left out: {reason}") for reason, count in reasons.most_common()]
    return "\n".join(f"{count:>8,}  {what}" for count, what in rows)
