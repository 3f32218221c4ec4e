"""Folders of results, as a measurement leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PRICES = {"solver": {"input": 1.0, "output": 2.0}, "decomposer": {"input": 0.1, "output": 0.2}}


def settings(kind: str = "none", mode: str = "step_by_step", n: int = 10, **changes: Any) -> dict[str, Any]:
    decomposer = {"name": kind, "kind": kind, "gate": 0.5}
    solver = {"name": "small", "model": "openai:small", "options": {}}
    arm = {"decomposer": decomposer, "solver": solver, "mode": mode, "source": "gsm8k", "n": n, "prices": PRICES}
    return arm | changes


def answer(number: int, right: bool, **changes: Any) -> dict[str, Any]:
    record = {"id": f"gsm8k/{number}", "source": "gsm8k", "strict": float(right), "lenient": 1.0}
    used = {"calls": 1, "input_tokens": 100, "output_tokens": 50, "seconds": 2.0}
    return record | {"mode": "step_by_step", "why": "right" if right else "wrong", "solve": used} | changes


def divided(number: int, right: bool, probability: float, **changes: Any) -> dict[str, Any]:
    used = {"calls": 1, "input_tokens": 100, "output_tokens": 100, "seconds": 0.5}
    known = {"mode": "fused", "subquestions": 2, "no_decomposition_probability": probability, "decompose": used}
    return answer(number, right, **known) | changes


def write(
    results: Path, name: str, arms: Mapping[str, tuple[dict[str, Any], Sequence[dict[str, Any]]]], **changes: Any
) -> Path:
    folder = results / name
    folder.mkdir(parents=True)
    known = {"name": name, "kind": "answers", "seed": 7, "prompt_version": "2", "machine": "a laptop"}
    value = known | {"n": {"gsm8k": 10}} | {"arms": {arm: found for arm, (found, _) in arms.items()}} | changes
    (folder / "settings.json").write_text(json.dumps(value), encoding="utf-8")
    for arm, (_, records) in arms.items():
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (folder / f"{arm}.jsonl").write_text(lines, encoding="utf-8")
    return folder
