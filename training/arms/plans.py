"""The decompositions an arm's solver is given: written by a model and kept, or recorded in a dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ContextOverflowError

from langchain_divconq.cli.jsonl import Item, RecordFile
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.types import Decomposition
from training.arms.config import DecomposerOptions
from training.arms.records import save_bytes
from training.arms.solvers import Meter, ask_all, why_failed
from training.config import Source
from training.example import Example
from training.plans import LongPlans, Unusable, recorded_plan
from training.sources import read_source

_LONG_PLANS: LongPlans = "first"
"""What becomes of a recorded plan beyond the cap: as the shipped student was taught."""


@dataclass(frozen=True)
class Planned:
    """What a decomposer makes of a question.

    Attributes:
        decomposition: Without subquestions where there are none, for whatever reason; with what it took to ask.
        no_plan: Why there is no usable plan, in a short phrase of a fixed set; None: there is one, or the decomposer
            says that none is needed.
        failure: Why the decomposer gave no reply, in the words of an answer's record; None: it did, or is no model.
    """

    decomposition: Decomposition
    no_plan: str | None = None
    failure: str | None = None


def undivided(examples: Sequence[Example]) -> dict[str, Planned]:
    """Return the examples without subquestions, by id: nobody was asked for any."""
    return {example.id: Planned(Decomposition(question=example.asked)) for example in examples}


def take_recorded(examples: Sequence[Example], options: DecomposerOptions, asked: Source) -> dict[str, Planned]:
    """Return the recorded decomposition of each example, by its id. Questions are matched by their words.

    Args:
        examples: What is to be divided.
        options: Names the source that records the decompositions, and the cap.
        asked: Where the examples come from: the same split is read.

    Raises:
        ValueError: That source cannot be read.
    """
    assert options.source is not None
    source = asked if asked.name == options.source else Source(name=options.source, split=asked.split)
    wanted = {_words(example) for example in examples}
    found = {words: one.recorded for one in read_source(source) if (words := _words(one)) in wanted}
    planned = {}
    for example in examples:
        example = example.model_copy(update={"recorded": found.get(_words(example))})
        subquestions: tuple[str, ...] = ()
        no_plan = None
        try:
            subquestions = recorded_plan(example, options.max_subquestions, _LONG_PLANS)
        except Unusable as error:
            no_plan = error.reason
        decomposition = Decomposition(question=example.asked, subquestions=subquestions)
        planned[example.id] = Planned(decomposition, no_plan=no_plan)
    return planned


def write_plans(
    examples: Sequence[Example],
    decomposer: Decomposer,
    path: Path,
    settings: dict[str, Any],
    *,
    concurrency: int,
    title: str,
) -> dict[str, Planned]:
    """Return a model's decomposition of each example, by its id; those that the file at `path` holds are taken from it.

    A question the model gave no reply to is not kept: it is asked again by whoever needs its plan next.

    Args:
        examples: What to divide.
        decomposer: With its model.
        path: One record a question, added as soon as it is there. Beside it, as .json, what they were written under.
        settings: What the plans depend on, in JSON's types.
        concurrency: Most questions at once.
        title: Stands beside the progress bar.

    Raises:
        ValueError: The file holds plans that were written under other settings.
        Exception: What would fail every question alike (no key, no file, no server), as it came.
    """
    failures: dict[str, Planned] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    check_plans(path, settings)
    with RecordFile(path, "decomposition") as file:

        async def divide(item: Item) -> None:
            meter = Meter()
            asked = Decomposition(question=item.question)
            failed: dict[str, str] = {}
            try:
                decomposition = await decomposer.ainvoke(item.question, {"callbacks": [meter]})
            except (DecompositionError, ContextOverflowError) as error:
                # No plan comes of this question however often it is asked, so this is a result as well.
                decomposition = asked.model_copy(update={"usage": meter.usage})
                failed = {"failed": type(error).__name__}
            except Exception as error:  # whatever a provider's package raises
                usage = {"usage": meter.usage}
                failures[str(item.key[1])] = Planned(asked.model_copy(update=usage), failure=why_failed(error))
                return
            file.add(item.record(decomposition=decomposition.model_dump(mode="json"), **failed))

        items = [Item(("id", example.id), example.asked) for example in examples]
        left = [item for item in items if not file.is_finished(item)]
        ask_all(left, divide, concurrency=concurrency, done=len(items) - len(left), title=title)
    known = load_plans(path)
    return {example.id: failures.get(example.id) or known[example.id] for example in examples}


def load_plans(path: Path) -> dict[str, Planned]:
    """Return the plans of a file, by the example's id; none where there is no file."""
    if not path.exists():
        return {}
    planned = {}
    with path.open("rb") as lines:  # a plan may hold what else would count as the end of a line
        for line in lines:
            if not line.endswith(b"\n"):
                break  # half-written by a killed run
            record = json.loads(line)
            decomposition = Decomposition.model_validate(record["decomposition"])
            planned[str(record["id"])] = Planned(decomposition, no_plan=record.get("failed"))
    return planned


def check_plans(path: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with plans that other weights wrote, or that were asked for otherwise; note what they are."""
    beside = path.with_suffix(".json")
    before = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() and path.exists() else settings
    if before != settings:
        raise ValueError(
            f"The plans in {path} were written under other settings: {before}, now {settings}. Restore them, or delete "
            "the file and ask for the plans anew."
        )
    save_bytes(beside, (json.dumps(settings) + "\n").encode())


def _words(example: Example) -> str:
    return " ".join(f"{example.context or ''} {example.question}".split())
