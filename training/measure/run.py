"""The measurement: each arm of a config asked its questions, with a record of each."""

from collections.abc import Sequence
from typing import Any

from langchain_divconq.errors import WeightsNotFoundError
from langchain_divconq.prompts import PROMPT_VERSION
from training.data.sources import read_source
from training.example import Example, choose
from training.measure.answers import Answering
from training.measure.config import Arm, Measurement
from training.measure.records import save_settings
from training.measure.retrieval import Reading, Searching, Shelf, load_shelf
from training.measure.task import Models, Task
from training.store import hold


def measure(
    config: Measurement,
    *,
    limit: int | None = None,
    arms: Sequence[str] = (),
    retry_failed: bool = False,
    models: Models | None = None,
) -> None:
    """Ask each arm's questions, but for those that have a record, and leave the records.

    All that can be checked is checked before a model runs, and what is left to ask is shown with its cost. An
    interrupted measurement goes on from where it was.

    Without `arms` all are asked, but for those whose adapter was not trained here. `models` take the place of those the
    config names, by solver's and decomposer's name.

    Raises:
        ValueError: An arm is unknown, a source or model cannot be set up, or there are records of other settings.
        WeightsNotFoundError: There is no such adapter for an arm that is named.
        UnfinishedError: Many questions in a row got no reply.
        Exception: What fails every question alike (no server, no key, no file), as it came.
    """
    chosen = _choose_arms(config, arms)
    with hold(config.folder):
        shelf = None if config.search is None else load_shelf(config.search)
        drawn = _draw(config, shelf)
        tasks: list[Task[Any]] = []
        for arm in chosen:
            kind: type[Task[Any]] = Answering if shelf is None else Searching if arm.found_by is None else Reading
            try:
                tasks.append(kind(config, arm, drawn, models or {}, shelf))
            except WeightsNotFoundError as error:
                if arms or (arm is chosen[-1] and not tasks):
                    raise
                print(f"{arm.name} is left out. {error}", flush=True)
        _save_settings(config, tasks, shelf)
        for task in tasks:
            if left := task.left(limit, retry_failed):
                task.show_preview(left)
        for task in tasks:
            if left := task.left(limit, retry_failed):
                task.ask_all(left, len(task.examples[:limit]) - len(left))
            # Also of a measurement without a limit after one with: whatever the limit, the order is that of the draw.
            task.file.sort(task.order)
            print(task.summary(limit), flush=True)


def _choose_arms(config: Measurement, names: Sequence[str]) -> list[Arm]:
    known = {arm.name: arm for arm in config.arms}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"There is no arm {unknown[0]!r} in {config.name}; there are {', '.join(known)}.")
    return [arm for arm in config.arms if not names or arm.name in names]


def _draw(config: Measurement, shelf: Shelf | None) -> list[Example]:
    """Return all questions in the order the seed draws them: arms and limits take the first of them."""
    source = config.source
    examples = read_source(source) if shelf is None else (one.example for one in shelf.hops.values())
    drawn = next(iter(choose(examples, None, config.seed).values()), [])
    if not drawn:
        raise ValueError(f"There are no {source.split} questions of {source.name!r}.")
    if lacking := [example.id for example in drawn if not example.answers]:
        raise ValueError(
            f"{len(lacking)} questions of {source.name!r} have no gold answer, {lacking[0]} for one: nothing can be "
            "measured on them."
        )
    return drawn


def _save_settings(config: Measurement, tasks: Sequence[Task[Any]], shelf: Shelf | None) -> None:
    shared = {
        "name": config.name,
        "kind": "answers" if shelf is None else "retrieval",
        "seed": config.seed,
        "prompt_version": PROMPT_VERSION,
        **({} if shelf is None else shelf.settings),
    }
    asked: dict[str, int] = {config.source.name: max(task.settings["n"] for task in tasks)}
    save_settings(config.results_folder, shared, asked, {task.arm.name: task.settings for task in tasks})
