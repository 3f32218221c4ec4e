"""The everyday questions as a measurement: each decomposer's plans graded, a record a question, with what it cost.

    python -m training grade --arm small --arm small-then-medium --arm solver-1.5b=PATH.gguf

An arm is one of `ARMS`, or NAME=MODEL with a model as `Decomposer` takes it: the path of a GGUF, or PROVIDER:MODEL.
What is no student of ours is asked with one demonstration, as the library does. What has a record is not asked again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ContextOverflowError

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.llamacpp.weights import default_weights
from langchain_divconq.prompts import PROMPT_VERSION
from langchain_divconq.types import Decomposition
from training.config import Source
from training.data.sources import read_source
from training.data.sources.everyday import FILES
from training.data.sources.rows import find_files, read_file
from training.example import Example, examples_fingerprint
from training.measure.grade import Grade, asking_words, grade
from training.measure.intervals import ratio
from training.measure.models import NAME, Meter, ask_all, files_of
from training.measure.records import Used, save_settings
from training.measure.report.everyday import FOLDER, save_everyday
from training.measure.report.read import EVERYDAY
from training.store import Records, hold

_ARM_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_THEN = "-then-"  # between the names of an arm's stages


ARMS: dict[str, Callable[[], Decomposer]] = {
    "small": lambda: Decomposer("small"),
    "medium": lambda: Decomposer("medium"),
    "small-then-medium": lambda: Decomposer("small", fallback=Decomposer("medium")),
    "small-greedy": lambda: Decomposer("small", num_beams=1),
    "medium-greedy": lambda: Decomposer("medium", num_beams=1),
    "untuned-small": lambda: Decomposer(ChatGGUF(model_path=default_weights("small"))),
    "untuned-medium": lambda: Decomposer(ChatGGUF(model_path=default_weights("medium"))),
}
"""The arms that have a name of their own: the library's decomposers, one that asks the other where it is unsure, both
without beam search, and the weights that both are taught from, without their adapters."""


@dataclass(frozen=True)
class Questions:
    """The questions that are asked, and what their plans are graded by.

    Attributes:
        examples: With their gold plans, in order.
        rows: Each one's kind and language, by the row's id.
        asking: Words a plan may bring in; see `asking_words`.
    """

    examples: Sequence[Example]
    rows: Mapping[str, Mapping[str, Any]]
    asking: frozenset[str]


def load_questions() -> Questions:
    """Return the everyday questions that train nothing.

    Raises:
        ValueError: There is no data folder.
    """
    source = Source(name="everyday", split="dev")
    rows = {row["id"]: row for path in find_files(source, FILES) for row in read_file(path)}
    return Questions([*read_source(source)], rows, asking_words(read_source(Source(name="everyday"))))


def grade_decomposers(
    arms: Sequence[str], folder: Path = FOLDER, *, limit: int | None = None, questions: Questions | None = None
) -> None:
    """Have each decomposer divide the questions that it has no record of, then write the tables and the plot of all.

    Args:
        arms: As this module's docstring has them; none: nothing is asked, only tables and plot are written.
        folder: Where the records lie.
        limit: Most questions an arm, the first; None: all.
        questions: What is asked; None: the everyday questions that train nothing.

    Raises:
        ValueError: An arm is none, or its records were made with other weights or settings.
        WeightsNotFoundError: There is no such file of weights.
        Exception: What fails every question alike (no server, no key), as it came.
    """
    named = dict(map(load_arm, arms))
    with hold(folder):
        if named:
            asked = questions or load_questions()
            known = {"prompt_version": PROMPT_VERSION, "questions": examples_fingerprint(asked.examples)}
            settings = {name: settings_of(decomposer) | known for name, decomposer in named.items()}
            save_settings(folder, {"name": EVERYDAY, "kind": EVERYDAY}, {EVERYDAY: len(asked.examples)}, settings)
            for name, decomposer in named.items():
                _ask(name, decomposer, folder, asked, limit)
        save_everyday(folder)


def load_arm(arm: str) -> tuple[str, Decomposer]:
    """Return an arm's name and its decomposer. Nothing is loaded or asked yet.

    Raises:
        ValueError: It is no arm.
        ConfigurationError: MODEL names no model.
    """
    name, given, model = arm.partition("=")
    if given and model and _ARM_NAME.fullmatch(name) and name not in ARMS:
        return name, Decomposer(model)
    if not given and name in ARMS:
        return name, ARMS[name]()
    raise ValueError(
        f"{arm!r} is no decomposer. Name one of {', '.join(ARMS)}, or another as NAME=MODEL: a new name of small "
        "letters, and the path of a GGUF or PROVIDER:MODEL."
    )


def settings_of(decomposer: Decomposer) -> dict[str, Any]:
    """Return what a decomposer's plans depend on, in JSON's types: its options, and checksums of its weights."""
    settings: dict[str, Any] = {"weights": {}}
    for stage, at in (("decomposer", decomposer), ("fallback", decomposer.fallback)):
        if at is None:
            break
        settings[stage] = at.model_dump(include={"gate", "max_subquestions", "min_confidence", "prompt_style"})
        settings[stage] |= {"num_beams": at.beams} if at.beams > 1 else {}
        if not isinstance(at.model, ChatGGUF):
            settings[stage]["model"] = str(getattr(at.model, "model_name", None) or getattr(at.model, "model", ""))
        settings["weights"] |= {name: fingerprint(path) for name, path in _files(stage, at).items()}
    return settings


def _files(stage: str, decomposer: Decomposer) -> dict[str, Path]:
    """Return the files that a decomposer's plans hang on: weights, adapter, and the card its confidence comes from."""
    files = files_of(stage, decomposer.model)
    if (adapter := files.get(f"{stage}_adapter")) and (card := adapter.with_suffix(".json")).is_file():
        files[f"{stage}_card"] = card
    return files


def _ask(name: str, decomposer: Decomposer, folder: Path, asked: Questions, limit: int | None) -> None:
    file = Records(folder / f"{name}.jsonl", Grade)
    counted = _counted(decomposer, name.split(_THEN) if decomposer.fallback else [name])
    ids = {example.id: example.id.rpartition("/")[2] for example in asked.examples}
    examples = asked.examples[:limit]
    left = [example for example in examples if ids[example.id] not in file.records]

    async def one(example: Example) -> None:
        file.add(await _graded(example, counted, asked))

    ask_all(left, one, concurrency=1, done=len(examples) - len(left), title=name)
    file.sort(ids.values())
    good = ratio([(float(one.good), 1.0) for one in file.records.values()])
    print(f"{name}: {good.value if good else 0:.1%} of {len(file.records)} good", flush=True)


def _counted(decomposer: Decomposer, names: Sequence[str]) -> Decomposer:
    """Return a decomposer whose calls, and its fallback's, a `Meter` counts under these names."""
    model = decomposer.model.with_config(metadata={NAME: names[0]})
    fallback = decomposer.fallback and _counted(decomposer.fallback, names[1:])
    return decomposer.model_copy(update={"model": model, "fallback": fallback})


async def _graded(example: Example, decomposer: Decomposer, asked: Questions) -> Grade:
    row, meter, no_plan = asked.rows[example.id.rpartition("/")[2]], Meter(), None
    try:
        plan = await decomposer.ainvoke(example.asked, {"callbacks": [meter]})
    except (DecompositionError, ContextOverflowError) as error:
        # However often it is asked, so this is a result as well: whoever asked goes on with the whole question.
        plan, no_plan = Decomposition(question=example.asked), type(error).__name__
    found = grade(example, plan.subquestions, kind=row["kind"], language=row["language"], asking=asked.asking)
    used = {name: Used.of(usage, at_once=1) for name, usage in meter.by_name.items()}
    return found.model_copy(update={"confidence": plan.confidence, "used": used, "no_plan": no_plan})
