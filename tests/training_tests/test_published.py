"""Tests that documents and figures agree about the shipped decomposer."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq.llamacpp.weights import DEFAULT_SHA256, MEDIUM_SHA256
from tests.repository import LIBRARY, ROOT
from tests.training_tests.examples import needs_data
from training.config import Config, load_toml
from training.data.sources import read_source
from training.gguf.card import config_fingerprint
from training.measure.config import Measurement
from training.measure.publish import render
from training.measure.report.report import report as report_of_records
from training.measure.verdicts import judge

RESULTS = ROOT / "training" / "results" / "smollm2-135m-decomposer"
ADAPTERS = LIBRARY / "adapters"
BASES = {"smollm2": DEFAULT_SHA256, "qwen2.5": MEDIUM_SHA256}


@pytest.fixture(scope="module")
def evaluation() -> Any:
    return json.loads((RESULTS / "metrics.json").read_text(encoding="utf-8"))


def test_the_table_of_metrics_is_made_of_the_figures(evaluation: Any) -> None:
    assert (RESULTS / "metrics.md").read_text(encoding="utf-8") == render(RESULTS.name, evaluation)


@pytest.mark.parametrize("adapter", sorted(ADAPTERS.glob("*.gguf")), ids=lambda path: path.stem)
def test_what_stands_beside_an_adapter_is_of_it_and_of_the_base_it_is_for(adapter: Path) -> None:
    def checksum(name: str) -> str:
        return hashlib.sha256((ADAPTERS / name).read_bytes()).hexdigest()

    beside = adapter.with_suffix(".evaluation.json")
    if beside.exists():
        found = json.loads(beside.read_text(encoding="utf-8"))
        assert checksum(adapter.name) == found["weights"]["adapter"]
    manifest = json.loads(adapter.with_suffix(".manifest.json").read_text(encoding="utf-8"))
    assert manifest["base"]["sha256"] == BASES[adapter.name.partition("-")[0]]
    assert adapter.name in manifest["files"]
    for name, recorded in manifest["files"].items():
        assert recorded == {"sha256": checksum(name), "bytes": (ADAPTERS / name).stat().st_size}, name


@needs_data
@pytest.mark.parametrize("name", ["gsm8k", "drop", "bamboogle"])
def test_todays_scorers_judge_the_stored_answers_as_they_were_judged(name: str) -> None:
    [source] = load_toml(ROOT / "training" / "configs" / "measure" / f"{name}.toml", Measurement).questions
    asked = {example.id: example for example in read_source(source)}
    judged = 0
    for path in sorted((ROOT / "training" / "results" / name).glob("*.jsonl")):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            answer = record.get("answer", "")
            if record["why"] not in ("right", "wrong") or answer.startswith("(") or len(answer) > 100:
                continue  # no answer, or not all of it is stored
            judged += 1
            assert judge(asked[record["id"]], answer, answer).strict == record["strict"], (path.stem, record["id"])
    assert judged > 200


def test_every_command_of_the_report_names_a_config() -> None:
    text = (ROOT / "training" / "results" / "report.md").read_text(encoding="utf-8")
    configs = re.findall(r"^\$ python -m training \w+ (training/\S+)$", text, flags=re.MULTILINE)
    assert len(configs) >= 4
    assert [config for config in configs if not (ROOT / config).is_file()] == []


def test_the_report_is_what_the_records_give() -> None:
    assert report_of_records(ROOT / "training" / "results", check=True)


@pytest.mark.parametrize(("size", "name"), [("small", "smollm2-135m"), ("medium", "qwen2.5-coder-0.5b")])
def test_an_adapter_that_ships_was_made_with_the_config_that_is_committed(size: str, name: str) -> None:
    made_with = json.loads((ADAPTERS / f"{name}-decomposer.manifest.json").read_text())["config"]
    assert config_fingerprint(load_toml(ROOT / "training" / "configs" / f"{size}.toml", Config)) == made_with
