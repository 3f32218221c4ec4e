"""Tests of shipping an adapter with the library. Export itself: integration_tests/test_export."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq.llamacpp import weights
from langchain_divconq.llamacpp.engines.identity import fingerprint
from tests.training_tests.examples import example
from tests.training_tests.exported import EVALUATION, PARITY, export_in_miniature, make_config
from training.config import Config
from training.example import save_examples
from training.gguf.export import export, held_out, publish_adapter
from training.gguf.parity import ParityError
from training.student.model import served_file

NAME = "smollm2-135m-decomposer"
PUBLISHED = f"{NAME}.gguf"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run on the default weights, exported."""
    config = make_config(tmp_path / "run")
    (tmp_path / "run").mkdir()
    base = export_in_miniature(config)
    monkeypatch.setattr(weights, "DEFAULT_SHA256", fingerprint(base))
    return config


def test_a_published_adapter_lies_beside_its_card_manifest_and_figures(config: Config, tmp_path: Path) -> None:
    (config.folder / "6-evaluation.json").write_text(json.dumps(EVALUATION))
    adapters = tmp_path / "adapters"
    publish_adapter(config, adapters)
    names = [f"{NAME}.{ending}" for ending in ("md", "evaluation.json", "manifest.json", "parity.json", "gguf")]
    assert sorted(path.name for path in adapters.iterdir()) == sorted(names)
    assert (adapters / PUBLISHED).read_bytes() == (config.folder / "5-gguf" / "adapter.gguf").read_bytes()
    files = json.loads((adapters / f"{NAME}.manifest.json").read_text())["files"]
    assert files.keys() == set(names) - {f"{NAME}.manifest.json"}
    assert files[PUBLISHED]["sha256"] == fingerprint(adapters / PUBLISHED)
    assert "## Evaluation" in (adapters / f"{NAME}.md").read_text()
    before = {path: path.read_bytes() for path in adapters.iterdir()}
    publish_adapter(config, adapters)
    assert {path: path.read_bytes() for path in adapters.iterdir()} == before


def refused(config: Config, adapters: Path, match: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=match):
        publish_adapter(config, adapters)
    assert not (adapters / PUBLISHED).exists()


def test_nothing_is_published_that_failed_the_comparison(config: Config, tmp_path: Path) -> None:
    artifacts = (PARITY.artifacts[0], replace(PARITY.artifacts[1], kl=0.5))
    saved = replace(PARITY, artifacts=artifacts).as_json()
    (config.folder / "5-gguf" / "parity.json").write_text(json.dumps({**saved, "failures": []}))
    refused(config, tmp_path / "adapters", "adapter export: mean KL 0.5000", ParityError)


def test_nothing_is_published_that_is_not_what_was_compared(config: Config, tmp_path: Path) -> None:
    with (config.folder / "5-gguf" / "adapter.gguf").open("ab") as file:
        file.write(b"more")
    refused(config, tmp_path / "adapters", "is not what was compared")


def test_nothing_is_published_that_is_too_large(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.gguf.export.MOST_BYTES", 100)
    refused(config, tmp_path / "adapters", r"the library ships less than 100\. Store it in fewer")


def test_nothing_is_published_for_other_weights(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "DEFAULT_SHA256", "0" * 64)
    refused(config, tmp_path / "adapters", "the library's weights are .* with 0000")


def test_a_solver_is_not_published(config: Config, tmp_path: Path) -> None:
    solver = config.model_copy(update={"finetune": config.finetune.model_copy(update={"role": "S_E-T"})})
    refused(solver, tmp_path / "adapters", "role is S_E-T")


def test_a_run_that_is_not_exported_is_not_published(tmp_path: Path) -> None:
    config = make_config(tmp_path, finetune={"student": "tiny"})
    refused(config, tmp_path / "adapters", "python -m training export")


def with_hub_student(folder: Path, **export: Any) -> Config:
    return make_config(folder, finetune={"student": "org/model"}, export=export)


def test_a_hub_checkpoint_is_served_with_the_gguf_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'org/model' is a hub checkpoint.*Set export\.base"):
        export(with_hub_student(tmp_path))
    with pytest.raises(ValueError, match=r"export\.base is 'nowhere\.gguf', which is no file"):
        served_file(with_hub_student(tmp_path, base="nowhere.gguf"))
    (tmp_path / "base.gguf").touch()
    assert served_file(with_hub_student(tmp_path, base=tmp_path / "base.gguf")) == tmp_path / "base.gguf"


def test_which_prompts_are_compared_depends_on_the_seed_alone(tmp_path: Path) -> None:
    config = make_config(tmp_path, export={"parity_prompts": 5})
    examples = [example(f"s/{number}", f"Who is {number}?", subquestions=()) for number in range(20)]
    save_examples(examples, config.folder / "3-validation.jsonl")
    chosen = [one.id for one in held_out(config)]
    assert len(set(chosen)) == 5
    assert chosen == [one.id for one in held_out(config)]
    assert chosen != [one.id for one in held_out(config.model_copy(update={"seed": 1}))]
    save_examples(examples[:3], config.folder / "3-validation.jsonl")
    assert len(held_out(config)) == 3
