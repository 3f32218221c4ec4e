"""The order of the stages, what is skipped, and what may go on in a folder."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training.data.load
import training.teach.demonstrate
from tests.repository import ROOT
from training.config import Config
from training.pipeline import STAGES, is_complete, limited, run

SOURCE = {"name": "jsonl", "path": "rows.jsonl"}
VALUES: dict[str, Any] = {"name": "try", "load": {"train": [SOURCE], "evaluate": [{**SOURCE, "split": "dev"}]}}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Config]:
    def config(**changes: Any) -> Config:
        return Config.model_validate({**VALUES, "output": tmp_path, **changes})

    return config


def complete(config: Config, *stages: str) -> None:
    config.folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        for artifact in STAGES[stage]:
            (config.folder / artifact).touch()


def test_artifacts_sort_in_the_order_they_are_made() -> None:
    numbers = [int(artifact[0]) for artifacts in STAGES.values() for artifact in artifacts]
    assert numbers == sorted(numbers)
    assert all(len({artifact[0] for artifact in artifacts}) == 1 for artifacts in STAGES.values())


def test_what_is_complete_is_skipped(make: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    complete(config, *STAGES)
    run(config)
    names = [f"{name}:" for name in STAGES if name != "prefer"]  # which the config has no section for
    assert [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()] == names


def test_a_stage_is_complete_when_all_its_artifacts_are_there(make: Callable[..., Config]) -> None:
    config = make()
    complete(config, "load")
    assert is_complete(config, "load")
    (config.folder / "1-leaks.json").unlink()
    assert not is_complete(config, "load")


def test_stages_run_in_order_and_the_rest_is_told(
    make: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make()
    monkeypatch.setattr(training.data.load, "load", lambda config: complete(config, "load"))
    monkeypatch.setattr(training.teach.demonstrate, "demonstrate", lambda config: complete(config, "demonstrate"))
    run(config, "load", "demonstrate")
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["load", "load:", "demonstrate", "demonstrate:"]
    assert json.loads((config.folder / "config.json").read_text(encoding="utf-8")) == config.model_dump(mode="json")


def test_a_hub_student_without_a_gguf_is_refused_before_the_first_stage(make: Callable[..., Config]) -> None:
    config = make(finetune={"student": "org/model"})
    with pytest.raises(ValueError, match=r"'org/model' is a hub checkpoint.*Set export\.base"):
        run(config)
    assert not list(config.folder.glob("1-*"))


@pytest.mark.parametrize(
    ("before", "changes", "setting", "refused_from"),
    [
        ("load", {"seed": 1}, "seed was 0 and is 1", ["1-evaluation.jsonl"]),
        ("screen", {"finetune": {"role": "S_D-R"}}, "finetune.role was 'S_D-T' and is 'S_D-R'", ["3-screened.jsonl"]),
        ("finetune", {"finetune": {"rank": 8}}, "finetune.rank was 16 and is 8", ["4-student"]),
        ("export", {"demonstrate": {"max_subquestions": 2}}, "max_subquestions was 3", ["2-demonstrations.jsonl"]),
    ],
)
def test_a_folder_made_with_another_config_is_refused(
    make: Callable[..., Config], before: str, changes: dict[str, Any], setting: str, refused_from: list[str]
) -> None:
    done = [*STAGES][: [*STAGES].index(before) + 1]
    config = make()
    complete(config, *done)
    run(config, *done)
    with pytest.raises(ValueError, match=setting) as refused:
        run(make(**changes), *done)
    assert all(name in str(refused.value) for name in refused_from)
    assert all(f"{int(name[0]) - 1}-" not in str(refused.value).partition("old one")[2] for name in refused_from)


def test_a_setting_may_change_before_the_stage_that_it_bears_on_has_begun(make: Callable[..., Config]) -> None:
    complete(make(), "load")
    run(make(), "load")
    changed = make(finetune={"rank": 8}, demonstrate={"concurrency": 9})
    run(changed, "load")
    (changed.folder / "4-student.partial").mkdir()
    with pytest.raises(ValueError, match=r"finetune.rank was 8 and is 16.*4-student\.partial$"):
        run(make(), "load")


def test_what_changes_only_the_pace_may_always_change(make: Callable[..., Config]) -> None:
    complete(make(), *STAGES)
    run(make())
    run(make(demonstrate={"concurrency": 9, "attempts": 1}, finetune={"threads": 1, "checkpoint_every": 7}))


def test_an_option_that_came_since_counts_as_its_default_and_one_that_is_gone_bears_on_nothing(
    make: Callable[..., Config],
) -> None:
    complete(make(), *STAGES)
    run(make())
    path = make().folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    del settings["finetune"]["rank"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    run(make())
    settings["finetune"]["gone"] = 1
    path.write_text(json.dumps(settings), encoding="utf-8")
    run(make())
    assert json.loads(path.read_text(encoding="utf-8")) == make().model_dump(mode="json")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_runs_cannot_work_in_one_folder_and_a_killed_one_leaves_it_free(make: Callable[..., Config]) -> None:
    config = make()
    complete(config, *STAGES)
    code = (
        "import sys, pathlib, training.store as store\n"
        "with store.hold(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(config.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="Another process is at work in"):
            run(config)
        other.kill()
    run(config)


def test_a_limit_holds_for_every_source_and_makes_another_run(make: Callable[..., Config]) -> None:
    config = make(load={"train": [SOURCE, {**SOURCE, "limit": 5}], "validation": 200})
    assert limited(config, None) is config
    short = limited(config, 20)
    assert [source.limit for source in short.load.train] == [20, 5]
    assert (short.name, short.load.validation, short.evaluate.limit) == ("try-limit-20", 5, 20)
    assert short.finetune == config.finetune
