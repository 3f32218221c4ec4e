"""A run's folder as fine-tuning and export leave it, with little in it."""

import json
from pathlib import Path
from typing import Any

from tests.gguf_writer import write_adapter, write_model
from training.config import Config
from training.gguf.card import manifest
from training.gguf.parity import Artifact, Parity

TRAINING = {
    "settings": {"student": "bundled", "rank": 16, "learning_rate": 0.0005, "seed": 7},
    "examples": 4321,
    "tokens": 987654,
    "seconds": 3600.0,
    "held_out_loss": 0.43219,
}
PARITY = Parity(
    prompts=16,
    places=512,
    parse_rate=1.0,
    other_tokens={"base": [], "adapter": []},
    artifacts=(
        Artifact("base", kl=0.006, kl_first=0.001, kl_worst=0.2, same_token=0.98),
        Artifact("adapter", 0.00712, 0.0012, 0.3, same_token=0.975, same_reply=0.875, parse_rate=1.0),
    ),
)
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 40}
EVALUATION = {
    "questions": {"gsm8k_socratic": 200, "bamboogle": 125},
    "metrics": {
        "gsm8k_socratic": {
            "parse_rate": {"ours": {**ESTIMATE, "value": 0.995}, "untuned": {**ESTIMATE, "value": 0.25}}
        },
        "bamboogle": {"agreement": {"ours": ESTIMATE}},
        "all": {"parse_rate": {"ours": ESTIMATE, "untuned": ESTIMATE, "difference": ESTIMATE}},
    },
}


def make_config(folder: Path, **changes: Any) -> Config:
    train = [{"name": "gsm8k_socratic", "limit": 3400}, {"name": "drop_qdmr"}, {"name": "jsonl", "path": "mine.jsonl"}]
    student = {"student": str(folder / "base.gguf"), **changes.pop("finetune", {})}
    return Config.model_validate(
        {"name": "try", "output": folder, "load": {"train": train}, "finetune": student, **changes}
    )


def export_in_miniature(config: Config) -> Path:
    """Write a base and what an exported run leaves; return the base."""
    base = write_model(Path(config.finetune.student))
    for name in ("4-student", "5-gguf"):
        (config.folder / name).mkdir(parents=True)
    (config.folder / "4-student" / "training.json").write_text(json.dumps(TRAINING))
    exported = config.folder / "5-gguf"
    write_adapter(exported / "adapter.gguf")
    (exported / "parity.json").write_text(json.dumps(PARITY.as_json()))
    (exported / "manifest.json").write_text(json.dumps(manifest(exported.iterdir(), base, config)))
    return base
