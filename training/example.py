"""The record that flows through the stages, and the files it rests in.

Each stage returns a copy with one more field. None: the stage has not run. (): there is nothing to divide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_divconq import Question

Split: TypeAlias = Literal["train", "dev", "test"]


class Recorded(BaseModel):
    """A demonstration that comes with a dataset, as published but for form: not yet capped, nor screened.

    Attributes:
        subquestions: In order, references as `#n`; empty: the question is one step.
        subanswers: The recorded answer to each; None: there are none.
        working: The recorded working from the subanswers to the final answer; None: there is none.
        prediction: The recorded final answer, which may be wrong; None: there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subquestions: tuple[str, ...]
    subanswers: tuple[str, ...] | None = None
    working: str | None = None
    prediction: str | None = None


class Example(BaseModel):
    """A question on its way from a dataset to a student.

    Attributes:
        id: Unique among all sources: the source's name, a slash, and the dataset's own identifier.
        source: Where it comes from, as a config names it.
        split: The dataset's own split. Only "train" trains.
        question: In words.
        context: The passage or premise it is about.
        answers: Gold answers, any of which is right; empty: unknown.
        recorded: What the dataset records of a decomposition.
        subquestions: After the demonstrate stage: the plan the student is to write.
        subanswers: After the screen stage: what the solver said to each subquestion.
        working: After the screen stage: what the solver wrote from there to its final answer; None: nothing.
        prediction: After the screen stage: the solver's final answer; "" where it gave none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    source: str
    split: Split
    question: str = Field(min_length=1)
    context: str | None = None
    answers: tuple[str, ...] = ()
    recorded: Recorded | None = None
    subquestions: tuple[str, ...] | None = None
    subanswers: tuple[str, ...] | None = None
    working: str | None = None
    prediction: str | None = None

    @property
    def asked(self) -> Question:
        """The question as the library takes it."""
        return Question(text=self.question, context=self.context)


def save_examples(examples: Iterable[Example], path: Path) -> int:
    """Write examples as JSONL to a temporary name and rename it, so that a file that exists is complete.

    Returns:
        How many there were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(example.model_dump_json(exclude_defaults=True) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return count


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
