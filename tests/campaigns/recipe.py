"""The recipe killed by SIGKILL in every stage, on the tiny student: the same stage run again leaves the same artifacts.

Case by case the stages take turns. Half of the cases are killed at the n-th time that the stage opens, renames, removes
or flushes something in the run's folder, half after a while; both drawn by the seed. Each begins with the folder as the
stages before left it, and ends with a second run of the stage, whose artifacts must be those of an undisturbed one.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.artifacts import contents
from tests.campaigns.children import in_fork
from tests.campaigns.report import Report
from tests.repository import ROOT
from training.config import Config, load_toml
from training.pipeline import STAGES
from training.pipeline import run as run_stages

CONFIG = ROOT / "training" / "configs" / "smoke.toml"
_SECONDS = 1200
_KILLED = "died of SIGKILL"
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.fsync")
_MOST_TRIES = 6


@dataclass(frozen=True)
class Stage:
    """A stage that nothing disturbed."""

    before: Path
    """The run's folder as the stages before left it."""
    after: dict[str, Any]
    """What is in the folder afterwards."""
    events: int
    """How often it touched the folder."""
    seconds: float


def run(count: int, seed: int) -> Report:
    import_what_stages_need()
    report = Report(settings={"config": CONFIG.relative_to(ROOT).as_posix()})
    with tempfile.TemporaryDirectory() as folder:
        config = load_toml(CONFIG, Config).model_copy(update={"output": Path(folder) / "runs"})
        undisturbed = {name: measured(config, name, Path(folder)) for name in STAGES}
        for number in range(count):
            name = [*STAGES][number % len(STAGES)]
            given, what = killed(config, name, undisturbed[name], random.Random(f"{seed}/{number}"))
            if what:
                report.failed(number, f"{name}, {given}", what)
            else:
                report.passed(f"{name}: killed, and the same in the end")
    return report


def killed(config: Config, name: str, stage: Stage, draw: random.Random) -> tuple[str, str]:
    """Kill a stage and run it again; return where it was killed, and what is wrong, or nothing."""
    at, after = 1 + draw.randrange(stage.events), stage.seconds * draw.random()
    by_event = draw.random() < 0.5
    for _ in range(_MOST_TRIES):
        restore(config, stage.before)
        given = f"killed at touch {at} of {stage.events}" if by_event else f"killed after {after:.2f} s"
        kill = {"at": at} if by_event else {"after": after}
        ending = in_fork(partial(do, config, name, **kill), seconds=_SECONDS)
        if ending == _KILLED:
            break
        at, after = max(1, at // 2), after / 2  # it was done before
    else:
        return given, f"was not killed: {ending}"
    ending = in_fork(lambda: do(config, name), seconds=_SECONDS)
    if not ending.startswith("done"):
        return given, f"did not go on: {ending}"
    found = contents(config.folder)
    differing = sorted(path for path in {**found, **stage.after} if found.get(path) != stage.after.get(path))
    return given, f"other artifacts: {', '.join(differing)}" if differing else ""


def measured(config: Config, name: str, folder: Path) -> Stage:
    """Run a stage undisturbed after those before it."""
    before = folder / f"before-{name}"
    config.folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(config.folder, before)
    started = time.monotonic()
    ending = in_fork(lambda: do(config, name), seconds=_SECONDS)
    if not ending.startswith("done"):
        raise SystemExit(f"the stage {name} does not run undisturbed: {ending}")
    return Stage(before, contents(config.folder), int(ending.split()[1]), time.monotonic() - started)


def do(config: Config, name: str, *, at: float = 0, after: float = 0) -> str:
    """Run a stage here, where it is killed at the n-th touch of the folder, or after some seconds, if at all."""
    log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    touches = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal touches
        if event in _EVENTS and arguments and str(arguments[0]).startswith(str(config.folder)):
            touches += 1
            if touches == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    os.fsync = announced(os.fsync)  # type: ignore[assignment]  # as it is called here
    if after:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    run_stages(config, name)
    return f"done {touches}"


def announced(flush: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return `os.fsync` as it tells audit hooks what it flushes, which it does not by itself."""

    def fsync(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        sys.audit("os.fsync", os.readlink(f"/proc/self/fd/{number}"))
        flush(file)

    return fsync


def restore(config: Config, before: Path) -> None:
    """Put the run's folder back to what it was before a stage."""
    shutil.rmtree(config.folder)
    shutil.copytree(before, config.folder)


def import_what_stages_need() -> None:
    """Import what takes long to import, so that forks have it. None of it may be used here: it starts threads."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import accelerate
    import gguf
    import matplotlib.figure
    import peft
    import transformers

    assert all((accelerate, gguf, matplotlib.figure, peft, transformers))
