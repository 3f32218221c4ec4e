"""Tests of the model card and the manifest."""

import hashlib
from pathlib import Path
from typing import get_args

from tests.training_tests.exported import EVALUATION, PARITY, TRAINING, export_in_miniature, make_config
from training.config import SourceName
from training.gguf.card import DATASETS, config_fingerprint, manifest, render_card

STORED = {"Q8_0": {"Q8_0": 211}, "Q4_K_M": {"Q5_0": 166, "Q4_K": 16}}


def test_every_source_with_rows_of_others_names_its_licence() -> None:
    names = {name.removesuffix("_one_step").removesuffix("_socratic") for name in get_args(SourceName)}
    assert DATASETS.keys() == names - {"jsonl"}
    assert all(dataset.title and dataset.licence for dataset in DATASETS.values())


def test_the_card_says_what_went_in_and_what_came_out(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    base = export_in_miniature(config)
    card = render_card(config, base, TRAINING, PARITY.as_json(), STORED, EVALUATION)
    for line in (
        "# try",
        "| gsm8k_socratic | at most 3,400 | [GSM8K](https://github.com/openai/grade-school-math) | MIT |",
        "| jsonl | all | a file of one's own | its own |",
        "| learning_rate | 0.0005 |",
        "| examples | 4321 |",
        "| held_out_loss | 0.4322 |",
        "| base | 0.00600 [0.02] | 0.00100 | 98.0% [93%] |  |  |",
        "| adapter | 0.00712 [0.02] | 0.00120 | 97.5% [93%] | 88% | 100% |",
        "- Q4_K_M: 166 Q5_0, 16 Q4_K",
        "| gsm8k_socratic | 200 | 0.99 / 0.25 |  |",
        "| bamboogle | 125 |  | 0.90 |",
        "| all | 325 | 0.90 / 0.90 |  |",
        "## Limits",
    ):
        assert line in card.splitlines(), line
    assert hashlib.sha256(base.read_bytes()).hexdigest() in card
    assert str(tmp_path) not in card
    assert "answers a question by way of subquestions" not in card


def test_a_run_that_is_not_evaluated_says_nothing_of_it(tmp_path: Path) -> None:
    config = make_config(tmp_path, finetune={"role": "S_E-T"})
    base = export_in_miniature(config)
    for evaluation in (None, {"role": "S_E-T", "metrics": {}}):
        card = render_card(config, base, TRAINING, PARITY.as_json(), {}, evaluation)
        assert "## Evaluation" not in card
        assert "K-quants" not in card
        assert "answers a question by way of subquestions" in card


def test_the_manifest_knows_every_file_by_its_checksum(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    base = export_in_miniature(config)
    folder = config.folder / "5-gguf"
    found = manifest(folder.iterdir(), base, config)
    assert found["base"] == {
        "name": "Tiny",
        "file": "base.gguf",
        "sha256": hashlib.sha256(base.read_bytes()).hexdigest(),
    }
    assert found["files"] == {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in ("adapter.gguf", "parity.json")
    }
    assert manifest(folder.iterdir(), base, config) == found


def test_equal_recipes_have_equal_fingerprints_wherever_they_run(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    elsewhere = config.model_copy(update={"output": tmp_path / "elsewhere"})
    assert config_fingerprint(config) == config_fingerprint(elsewhere)
    assert config_fingerprint(config) != config_fingerprint(config.model_copy(update={"seed": 1}))
