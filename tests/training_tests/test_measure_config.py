"""A measurement's config: what it says is checked as a whole before a model runs."""

from pathlib import Path
from typing import Any

import pytest

from training.config import ROOT, load_toml
from training.data.sources.rows import find_files
from training.measure.config import Measurement

MEASURE = ROOT / "training" / "configs" / "measure"

VALID: dict[str, Any] = {
    "name": "try",
    "questions": [{"name": "gsm8k", "split": "test"}],
    "solvers": {"s": {"model": "openai:some"}},
    "decomposers": {"d": {"kind": "shipped"}},
    "arms": [{"name": "a", "decomposer": "d", "solver": "s", "mode": "fused"}],
}


def measurement(**changes: Any) -> Measurement:
    return Measurement.model_validate({**VALID, **changes})


def arm(**changes: Any) -> dict[str, Any]:
    return {"arms": [{**VALID["arms"][0], **changes}]}


@pytest.mark.parametrize("name", ["smoke", "gsm8k", "drop", "bamboogle"])
def test_the_configs_that_come_with_the_recipe_are_valid_and_price_every_solver(name: str) -> None:
    config = load_toml(MEASURE / f"{name}.toml", Measurement)
    assert all(solver.price is not None for solver in config.solvers.values())
    assert {arm.decomposer for arm in config.arms} <= set(config.decomposers)
    assert {arm.solver for arm in config.arms} == set(config.solvers)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (arm(solver="t"), "arm 'a': there is no solver 't'; there are 's'"),
        (arm(decomposer="e"), "arm 'a': there is no decomposer 'e'; there are 'none', 'd'"),
        (arm(mode="direct"), "the mode \"direct\" takes no decomposer, and 'd' is named"),
        (arm(mode="self_ask"), "the mode \"self_ask\" takes no decomposer, and 'd' is named"),
        (arm(decomposer="none"), 'the mode "fused" needs a decomposer'),
        (arm(mode="guess"), "Input should be"),
        ({"arms": VALID["arms"] * 2}, "two arms are named 'a'"),
        ({"questions": [*VALID["questions"], {"name": "drop", "split": "dev"}]}, "Tuple should have at most 1 item"),
        ({"questions": [{"name": "gsm8k"}]}, "gsm8k asks train questions, and tuning is false: ask dev or test"),
        ({"tuning": True}, "gsm8k asks test questions, and tuning is true: ask train or dev"),
        ({"decomposers": {"d": {"kind": "gguf"}}}, 'the kind "gguf" needs adapter'),
        ({"decomposers": {"d": {"kind": "recorded"}}}, 'the kind "recorded" needs source'),
        ({"decomposers": {"d": {"kind": "shipped", "model": "m"}}}, 'the kind "shipped" takes no model'),
        ({"decomposers": {"d": {"kind": "shipped", "options": {"n_ctx": 1}}}}, "takes no options"),
        ({"decomposers": {"d": {"kind": "shipped", "gate": 2}}}, "less than or equal to 1"),
        ({"decomposers": {"d": {"kind": "shipped", "gate": "never"}}}, "Input should be 'always'"),
        ({"decomposers": {"d": {"kind": "shipped", "max_subquestions": 10}}}, "less than or equal to 9"),
        ({"solvers": {"s": {"model": "openai:some", "adapter": "a.gguf"}}}, 'adapter needs a model "gguf:PATH"'),
        ({"solvers": {"s": {"model": "openai:some", "temperature": 0}}}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        measurement(**changes)


def test_tuning_asks_train_questions_and_its_name_says_so() -> None:
    config = measurement(tuning=True, questions=[{"name": "gsm8k", "split": "train"}])
    assert config.name == "tuning-try"
    assert Measurement.model_validate(config.model_dump()).name == "tuning-try"
    assert config.results_folder == ROOT / "training" / "results" / "tuning-try"


def test_an_arm_asks_no_more_than_the_source_or_its_own_limit() -> None:
    config = measurement(questions=[{"name": "gsm8k", "split": "test", "limit": 50}], **arm(limit=70))
    assert config.limit_of(config.arms[0]) == 50
    assert measurement().limit_of(measurement().arms[0]) is None


def test_a_measurement_without_decomposers_needs_no_table_of_them() -> None:
    single = [{"name": "a", "solver": "s", "mode": "direct"}]
    config = Measurement.model_validate(
        {**{name: value for name, value in VALID.items() if name != "decomposers"}, "arms": single}
    )
    assert [*config.decomposers] == ["none"]


def with_second_arm(versus: str) -> Measurement:
    [first] = arm()["arms"]
    return measurement(arms=[first, {**first, "name": "other", "versus": versus}])


def test_an_arm_is_compared_with_another() -> None:
    assert with_second_arm("a").arms[1].versus == "a"


@pytest.mark.parametrize("versus", ["other", "gone"])
def test_an_arm_is_compared_with_no_arm_that_is_not_there(versus: str) -> None:
    with pytest.raises(ValueError, match=f"arm 'other': there is no other arm '{versus}'; there are 'a'"):
        with_second_arm(versus)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = measurement(questions=[{"name": "jsonl", "split": "dev", "path": "~/own.jsonl"}], output="~/out")
    (tmp_path / "own.jsonl").touch()
    assert find_files(config.source, {}) == [tmp_path / "own.jsonl"]
    assert config.folder == tmp_path / "out" / "try"


def test_errors_in_a_file_name_the_file_and_the_field(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    with pytest.raises(ValueError, match=r"There is no config .*some\.toml\. Beside it: none"):
        load_toml(path, Measurement)
    path.write_text("name = ")
    with pytest.raises(ValueError, match=r"some\.toml is no TOML"):
        load_toml(path, Measurement)
    path.write_text('name = "x"\nquestions = []\narms = []\n[solvers]\n')
    with pytest.raises(ValueError, match=r"(?s)some\.toml cannot be used:\n  questions\.0: .*\n  arms: "):
        load_toml(path, Measurement)
