"""All stages, in order. A stage whose artifacts exist is complete, for they get their names at the end of it."""

import json
import os
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from training.config import Config
from training.store import changes, hold, save_json
from training.student.model import served_file

STAGES: dict[str, tuple[str, ...]] = {
    "load": ("1-examples.jsonl", "1-validation.jsonl", "1-evaluation.jsonl", "1-leaks.json"),
    "demonstrate": ("2-demonstrations.jsonl", "2-validation.jsonl"),
    "screen": ("3-screened.jsonl", "3-validation.jsonl"),
    "finetune": ("4-student",),
    "prefer": ("4-preferred",),
    "export": ("5-gguf",),
    "evaluate": ("6-evaluation.json",),
}
"""What each stage leaves in the run's folder. The function of its name in its module makes it."""

_MODULES = {
    "load": "training.data.load",
    "demonstrate": "training.teach.demonstrate",
    "screen": "training.teach.screen",
    "finetune": "training.student.finetune",
    "prefer": "training.prefer",
    "export": "training.gguf.export",
    "evaluate": "training.measure.evaluate",
}

# Settings that change how fast or how safely a stage runs, not what it makes.
_FREE = {"name", "output", "finetune.threads", "finetune.checkpoint_every"} | {
    f"{section}.{field}" for section in ("demonstrate", "screen") for field in ("concurrency", "attempts")
}
_FREE |= {"demonstrate.dollars_per_million_input", "demonstrate.dollars_per_million_output"}  # shown, not kept
# Settings that bear on an earlier stage than the one they are written under.
_EARLIER = {"seed": "load", "finetune.role": "screen"}


def run(config: Config, *stages: str) -> None:
    """Do the stages that are not complete yet.

    Without stages all are done.

    Raises:
        ValueError: The run's folder was made with another config, another run is at work in it, a stage that comes
            before those named is not complete, or all are to be done and there is no GGUF to serve the adapter with.
    """
    with hold(config.folder) if _is_first_process() else nullcontext():
        _keep_settings(config)
        if not stages:
            served_file(config)  # what export needs, before a teacher is paid or a student trained
        for stage in stages or STAGES:
            if is_complete(config, stage):
                if stage != "prefer" or config.prefer is not None:
                    _say(f"{stage}: complete ({', '.join(STAGES[stage])})")
                continue
            if stage != "finetune" and not _is_first_process():
                raise ValueError(f"`accelerate launch` is for finetune alone; run {stage} without it, then that.")
            _check_earlier(config, stage)
            _say(f"{stage} …")
            started = time.monotonic()
            getattr(import_module(_MODULES[stage]), stage)(config)
            _say(f"{stage}: done in {time.monotonic() - started:.0f} s")


def is_complete(config: Config, stage: str) -> bool:
    """Return whether a stage's artifacts are all there, or none are asked for: "prefer" has its own section."""
    if stage == "prefer" and config.prefer is None:
        return True
    return all((config.folder / artifact).exists() for artifact in STAGES[stage])


def limited(config: Config, limit: int | None) -> Config:
    """Return the config of a quick try: every source gives at most `limit` rows, and the run has a name of its own."""
    if limit is None:
        return config

    def fewer(rows: int | None) -> int:
        return limit if rows is None else min(rows, limit)

    def cut(sources: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [{**source.model_dump(), "limit": fewer(source.limit)} for source in sources]

    values = config.model_dump()
    values["name"] = f"{config.name}-limit-{limit}"
    values["load"]["train"], values["load"]["evaluate"] = cut(config.load.train), cut(config.load.evaluate)
    # The validation slice is taken out of the training examples, which must not run out.
    values["load"]["validation"] = min(config.load.validation, limit // 4)
    values["evaluate"]["limit"] = fewer(config.evaluate.limit)
    return Config.model_validate(values)


def _check_earlier(config: Config, stage: str) -> None:
    for earlier in STAGES:
        if earlier == stage:
            return
        if not is_complete(config, earlier):
            missing = next(name for name in STAGES[earlier] if not (config.folder / name).exists())
            raise ValueError(
                f"The {stage} stage needs {config.folder / missing}, which the {earlier} stage makes. Run it first: "
                f"python -m training {earlier} CONFIG, or all of them: python -m training run CONFIG"
            )


def _keep_settings(config: Config) -> None:
    """Write the config into the run's folder, unless artifacts were made with another one.

    A setting may change as long as no stage that it bears on has begun.
    """
    path = config.folder / "config.json"
    settings = config.model_dump(mode="json")
    before = settings
    if path.exists():  # options that came since have their defaults there, and those that are gone bear on nothing
        before = Config.model_validate_json(path.read_bytes(), extra="ignore").model_dump(mode="json")
    for change in changes(before, settings):
        stage = _EARLIER.get(change.name) or change.name.partition(".")[0]
        made = [] if change.name in _FREE else _made_since(config.folder, stage)
        if made:
            raise ValueError(
                f"{config.folder} was made with another config: {change}. Give this run another name, or delete what "
                f"was made with the old one: {', '.join(made)}"
            )
    if _is_first_process() and not (path.exists() and json.loads(path.read_bytes()) == settings):
        save_json(path, settings)


def _made_since(folder: Path, stage: str) -> list[str]:
    """Return what a stage and those after it left, unfinished work included: names begin with the stage's number."""
    if stage == "prefer":  # it shares the fine-tuning's number
        return sorted(path.name for path in folder.iterdir() if path.name.startswith(("4-preferred", "5", "6")))
    first = [name for name in STAGES if name != "prefer"].index(stage) + 1
    return sorted(path.name for path in folder.iterdir() if path.name[:1].isdigit() and int(path.name[0]) >= first)


def _is_first_process() -> bool:
    """Return whether this process speaks for all of one `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _is_first_process():
        print(text, flush=True)
