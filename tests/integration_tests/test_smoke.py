"""The whole recipe on a tiny student: to an evaluated GGUF, and to the very same one however often it is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_divconq import ChatGGUF, Decomposer
from tests.artifacts import contents
from tests.repository import ROOT
from training.example import load_examples
from training.measure.plan_metrics import PlanVerdict

CONFIG = ROOT / "training" / "configs" / "smoke.toml"
MOST_SECONDS = 300

# Where to kill: the operation, the end of the file's name, and at which time it happens. A rename is what completes an
# artifact, so before it all of the work is done and none of it counts.
KILLS = [
    ("os.rename", "/1-examples.jsonl", 1),
    ("os.rename", "/2-demonstrations.jsonl", 1),
    ("os.rename", "/3-screened.jsonl", 1),
    ("os.rename", "/checkpoint.pt", 2),
    ("os.rename", "/5-gguf", 1),
    ("os.fsync", "/6-plans/ours/jsonl.jsonl", 3),
    ("os.rename", "/6-evaluation.json", 1),
]

# `python -m training`, with a hand on the switch. Python announces renames to its audit hooks; fsync it does not.
KILLED = """
import os, runpy, signal, sys
operation, ending, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.argv[1:] = sys.argv[4:]

def watch(event, arguments):
    global left
    if event == operation and any(str(argument).endswith(ending) for argument in arguments):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

def flush(file, flush=os.fsync):
    sys.audit("os.fsync", os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}"))
    flush(file)

sys.addaudithook(watch)
os.fsync = flush
runpy.run_module("training", run_name="__main__", alter_sys=True)
"""


def command(config: Path, *interpreter: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *(interpreter or ("-m", "training")), "run", str(config)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(words, cwd=ROOT, env=offline, capture_output=True, text=True, timeout=MOST_SECONDS)


def config_in(folder: Path) -> Path:
    path = folder / "smoke.toml"
    path.write_text(f'output = "{folder.as_posix()}"\n{CONFIG.read_text(encoding="utf-8")}', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = command(config_in(folder))
    assert done.returncode == 0, done.stderr
    return folder / "smoke"


def test_the_recipe_ends_with_an_evaluated_adapter_that_loads(finished: Path) -> None:
    ids = [
        example.id for name in ("3-screened", "3-validation") for example in load_examples(finished / f"{name}.jsonl")
    ]
    assert len(ids) == len(set(ids)) == 48
    model = ChatGGUF(model_path=finished / "tiny.gguf", adapter_path=finished / "5-gguf" / "adapter.gguf")
    decomposition = Decomposer(model=model).invoke("How many pens are in 3 boxes of 12?")
    assert len(decomposition.subquestions) <= 4
    evaluation = json.loads((finished / "6-evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["questions"] == {"jsonl": 6}
    assert set(evaluation["metrics"]["all"]["parse_rate"]) == {"ours", "untuned", "difference"}
    lines = (finished / "6-verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    verdicts = [json.loads(line) for line in lines]
    judged = {(one.pop("arm"), PlanVerdict.model_validate(one).id) for one in verdicts}
    assert len(judged) == len(verdicts) == 12


def test_a_run_that_is_complete_does_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    again = command(finished.parent / "smoke.toml")
    assert again.returncode == 0, again.stderr
    assert [line.partition(" ")[2][:8] for line in again.stdout.splitlines()] == ["complete"] * 6
    del before[finished / ".lock"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which file is flushed")
def test_a_run_killed_in_every_stage_ends_with_the_same_artifacts(finished: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path)
    for operation, ending, count in KILLS:
        killed = command(config, "-c", KILLED, operation, ending, str(count))
        assert killed.returncode == -signal.SIGKILL, f"{operation} {ending}: {killed.stdout}\n{killed.stderr}"
    done = command(config)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "smoke") == contents(finished)
