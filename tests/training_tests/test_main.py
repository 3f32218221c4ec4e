"""The command line: what it says when something is wrong, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT
from training.__main__ import HELP, main
from training.pipeline import STAGES

CONFIG = """
name = "try"
output = "{output}"
[load]
train = [{{ name = "jsonl", path = "{output}/rows.jsonl" }}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "try.toml"
    path.write_text(CONFIG.format(output=tmp_path.as_posix()), encoding="utf-8")
    return path


def test_every_command_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(HELP) == {*STAGES, "run", "show", "publish", "ship", "calibrate", "measure", "grade", "report"}
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in HELP)


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from training.__main__ import main
try:
    main(["--help"])
except SystemExit:
    pass
print(sorted({"torch", "transformers", "peft", "datasets", "numpy", "pyarrow", "llama_cpp"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_config_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", str(tmp_path / "typo.toml")]) == 2
    assert capsys.readouterr().err == f"training: There is no config {tmp_path / 'typo.toml'}. Beside it: {config}.\n"


def test_a_stage_out_of_turn_names_the_command_to_run_first(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(config)]) == 2
    said = capsys.readouterr().err
    assert "The export stage needs" in said
    assert "1-examples.jsonl, which the load stage makes. Run it first: python -m training load CONFIG" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["show", "publish"])
def test_there_is_nothing_to_show_before_the_evaluation(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(config)]) == 2
    assert "Run it first: python -m training evaluate CONFIG" in capsys.readouterr().err


def test_an_error_shows_where_it_comes_from_on_demand(config: Path) -> None:
    with pytest.raises(ValueError, match="The export stage needs"):
        main(["export", str(config), "--debug"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["load"], "load needs a CONFIG"),
        (["report", "a.toml"], "report takes no CONFIG"),
        (["load", "a.toml", "--arm", "whole"], "load takes no --arm"),
        (["report", "--retry-failed"], "report takes no --retry-failed"),
        (["measure", "a.toml", "--check"], "measure takes no --check"),
        (["grade", "a.toml"], "grade takes no CONFIG"),
    ],
)
def test_what_a_command_does_not_take_is_wrong_use(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-3", "many"])
def test_a_limit_is_a_number_of_rows(limit: str, config: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["load", str(config), "--limit", limit])


def test_a_limit_gives_the_run_a_name_of_its_own(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(config), "--limit", "5"]) == 2
    assert "try-limit-5" in capsys.readouterr().err


def test_an_arm_of_everyday_questions_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--arm", "large"]) == 2
    assert "training: 'large' is no decomposer. Name one of small, " in capsys.readouterr().err
