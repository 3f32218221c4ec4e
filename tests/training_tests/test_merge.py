"""The adapter worked into the base's own tensors, and nothing else touched."""

from pathlib import Path
from typing import Any, get_args

import gguf
import numpy as np
import pytest

from langchain_divconq.llamacpp.engines.gguf import read_array, read_header
from tests.training_tests.lora import train_at_random
from training.gguf.merge import merge
from training.student.adapter import Lora, load_lora
from training.student.model import load_student
from training.student.tiny import Architecture, make_tiny


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_the_merged_file_loads_as_what_peft_merges(architecture: Architecture, tmp_path: Path) -> None:
    base = make_tiny(tmp_path / "base.gguf", architecture)
    student, _ = train_at_random(base, tmp_path / "student")
    before, _ = load_student(str(base), tmp_path, "float32")
    merge(base, load_lora(tmp_path / "student", read_header(base)), tmp_path / "merged.gguf", "Mine")
    expected = student.merge_and_unload().state_dict()
    found = load_student(str(tmp_path / "merged.gguf"), tmp_path, "float32")[0].state_dict()
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
        # Half a unit of F16's last place: the test would see a layer that was left out.
        assert np.allclose(values, before.state_dict()[name], rtol=1e-3, atol=1e-4) == ("_proj.weight" not in name)


def test_everything_else_is_the_bases_own(tmp_path: Path) -> None:
    base = make_tiny(tmp_path / "base.gguf", "qwen2")
    pair = np.ones((4, 64), "f"), np.ones((64, 4), "f")
    merge(base, Lora(4, 2.0, {"blk.1.attn_q.weight": pair}), tmp_path / "merged.gguf", "Mine")
    before, after = read_header(base), read_header(tmp_path / "merged.gguf")
    assert {**before.metadata, "general.name": "Mine", "general.file_type": 1} == after.metadata
    assert before.arrays.keys() == after.arrays.keys()
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"):
        assert read_array(before, key) == read_array(after, key)
    assert list(before.shapes.items()) == list(after.shapes.items())
    untouched = tensors(base)
    for name, tensor in tensors(tmp_path / "merged.gguf").items():
        matrix = len(tensor.shape) > 1
        assert tensor.tensor_type.name == ("F16" if matrix else "F32")
        values = untouched[name].data + (2.0 if name == "blk.1.attn_q.weight" else 0)
        np.testing.assert_array_equal(tensor.data, values.astype("float16") if matrix else values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.gguf", "merged.gguf"]


def test_a_quantised_base_is_dequantised_first(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "llama")
    values = np.random.default_rng(0).standard_normal((8, 64)).astype("f")
    stored = gguf.GGMLQuantizationType.Q4_1
    packed = gguf.quants.quantize(values, stored)
    writer.add_tensor("blk.0.attn_v.weight", packed, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pair = np.full((2, 64), 0.5, "f"), np.full((8, 2), 0.25, "f")
    merge(tmp_path / "base.gguf", Lora(2, 2.0, {"blk.0.attn_v.weight": pair}), tmp_path / "merged.gguf", "Mine")
    found = tensors(tmp_path / "merged.gguf")["blk.0.attn_v.weight"]
    expected = (gguf.quants.dequantize(packed, stored) + 0.25).astype("float16")
    np.testing.assert_array_equal(found.data, expected)
    assert not (expected == (values + 0.25).astype("float16")).all()
