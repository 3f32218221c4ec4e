"""An adapter between two."""

import json
from pathlib import Path

import numpy as np
import pytest

from langchain_divconq.llamacpp.engines.gguf import read_header
from tests.training_tests.test_finetune import as_gguf, prepare
from training.student import finetune as stage
from training.student.adapter import average, load_lora, read_adapter

A, B = "q_proj.lora_A.weight", "q_proj.lora_B.weight"


def adapter(seed: int, rank: int = 4) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {A: draw.normal(size=(rank, 12)).astype("float32"), B: draw.normal(size=(9, rank)).astype("float32")}


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_adapters_that_add_the_same_in_other_factors_average_to_it(share: float) -> None:
    one = adapter(1)
    turn = np.diag([2.0, 4.0, 0.5, 1.0]).astype("float32")
    other = {A: turn @ one[A], B: one[B] @ np.linalg.inv(turn)}
    averaged = average(one, other, share)
    assert averaged[A].shape == one[A].shape
    np.testing.assert_allclose(averaged[B] @ averaged[A], one[B] @ one[A], atol=1e-4)


def test_the_average_is_the_nearest_of_its_rank() -> None:
    one, other = adapter(1), adapter(2)
    wanted = 0.6 * one[B] @ one[A] + 0.4 * other[B] @ other[A]
    averaged = average(one, other, 0.4)
    missed = np.linalg.norm(averaged[B] @ averaged[A] - wanted)
    left_out = np.linalg.svd(wanted, compute_uv=False)[4:]
    assert missed == pytest.approx(np.linalg.norm(left_out), rel=1e-3)


def test_a_run_that_keeps_some_of_its_start_ends_between_the_two(tmp_path: Path) -> None:
    first = prepare(tmp_path / "first")
    stage.finetune(first)
    base, start = first.folder / "tiny.gguf", as_gguf(first, tmp_path / "start.gguf")
    runs = {keep: prepare(tmp_path / f"keeps{keep}", start=start, keep=keep) for keep in (0.0, 0.4)}
    added = {}
    for keep, run in runs.items():
        stage.finetune(run)
        lora = load_lora(run.folder / "4-student", read_header(base))
        added[keep] = {name: lora.delta(name) for name in lora.pairs}
    old = load_lora(first.folder / "4-student", read_header(base))
    moved, kept = (sum(np.linalg.norm(one[name] - old.delta(name)) for name in one) for one in added.values())
    assert 0.5 * moved < kept < 0.7 * moved
    assert json.loads((runs[0.4].folder / "4-student" / "training.json").read_text())["settings"]["keep"] == 0.4
    assert read_adapter(start, read_header(base))
