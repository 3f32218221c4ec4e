"""From peft's adapter to llama.cpp's: names, order of rows, storage."""

import shutil
from pathlib import Path
from typing import Any, get_args

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from langchain_divconq.errors import AdapterMismatchError
from langchain_divconq.llamacpp.engines.gguf import check_adapter, read_header
from tests.training_tests.lora import train_at_random
from training.student.adapter import Lora, load_lora, permute_rows, read_adapter, write_adapter
from training.student.tiny import Architecture, make_tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture(scope="module")
def folder(base: Path) -> Path:
    train_at_random(base, base.parent / "student")
    return base.parent / "student"


def test_every_layer_of_every_block_has_its_pair(base: Path, folder: Path) -> None:
    lora = load_lora(folder, read_header(base))
    layers = ["attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up"]
    assert list(lora.pairs) == [f"blk.{block}.{layer}.weight" for block in range(2) for layer in layers]
    assert (lora.rank, lora.alpha) == (8, 16.0)
    assert lora.delta("blk.0.ffn_down.weight").shape == (64, 128)


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_what_was_written_is_read_back_as_peft_saved_it(
    base: Path, folder: Path, tmp_path: Path, architecture: Architecture
) -> None:
    model = make_tiny(tmp_path / "base.gguf", architecture)
    write_adapter(load_lora(folder, read_header(model)), tmp_path / "a.gguf", model, "F32", "Mine", {})
    saved, back = load_file(folder / "adapter_model.safetensors"), read_adapter(tmp_path / "a.gguf", read_header(model))
    assert set(back) == set(saved)
    for name, values in back.items():
        np.testing.assert_array_equal(values, saved[name])


def test_rows_of_queries_and_keys_change_places_in_the_llama_family_alone(base: Path, folder: Path) -> None:
    saved = load_file(folder / "adapter_model.safetensors")
    named = "base_model.model.model.layers.1.self_attn.{}_proj.lora_{}.weight".format
    for architecture in get_args(Architecture):
        pairs = load_lora(folder, read_header(make_tiny(base.parent / f"{architecture}.gguf", architecture))).pairs
        for short, heads in (("q", 4), ("k", 2), ("v", None)):
            inner, outer = pairs[f"blk.1.attn_{short}.weight"]
            np.testing.assert_array_equal(inner, saved[named(short, "A")])
            heads = heads if architecture == "llama" else None
            np.testing.assert_array_equal(outer, permute_rows(saved[named(short, "B")], heads))
            assert (outer == saved[named(short, "B")]).all() == (heads is None)


def test_the_halves_of_a_head_are_interleaved() -> None:
    assert permute_rows(np.arange(8), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@given(heads=st.integers(1, 5), half=st.integers(1, 6), columns=st.integers(1, 3))
def test_the_loader_of_transformers_takes_the_order_back(heads: int, half: int, columns: int) -> None:
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    rows = np.arange(heads * half * 2 * columns).reshape(-1, columns)
    processor: Any = LlamaTensorProcessor
    back = processor()._reverse_permute_weights(permute_rows(rows, heads), heads, heads)
    assert back.tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("kind", "inner", "outer"), [("F32", "F32", "F32"), ("F16", "F16", "F16"), ("Q8_0", "Q8_0", "F16")]
)
def test_the_file_holds_the_adapter_as_asked(
    base: Path, folder: Path, tmp_path: Path, kind: str, inner: str, outer: str
) -> None:
    lora = load_lora(folder, read_header(base))
    path = tmp_path / "adapter.gguf"
    write_adapter(lora, path, base, kind, "Mine", {"role": "S_D-T"})
    header = read_header(path)
    check_adapter(read_header(base), header)
    assert header.name == "Mine"
    assert header.metadata["adapter.lora.alpha"] == 16.0
    assert header.text("divconq.role") == "S_D-T"
    assert header.text("general.base_model.0.name") == "Tiny llama"
    assert list(tmp_path.iterdir()) == [path]
    for tensor in gguf.GGUFReader(path).tensors:
        name, _, half = tensor.name.rpartition(".")
        values = lora.pairs[name][half == "lora_b"]
        assert tensor.tensor_type.name == (outer if half == "lora_b" else inner)
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_allclose(found, values, atol=0 if kind == "F32" else np.abs(values).max() / 200)


def test_a_rank_of_whole_blocks_is_stored_in_8_bits_throughout(base: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pair = random.standard_normal((32, 64)).astype("f"), random.standard_normal((64, 32)).astype("f")
    write_adapter(Lora(32, 32.0, {"blk.0.attn_q.weight": pair}), tmp_path / "a.gguf", base, "Q8_0", "Mine", {})
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors} == {"Q8_0"}


def test_an_adapter_for_another_model_is_not_written(base: Path, tmp_path: Path) -> None:
    pair = np.zeros((4, 32), "f"), np.zeros((64, 4), "f")
    with pytest.raises(AdapterMismatchError, match=r"blk\.0\.attn_q\.weight maps 64 to 64"):
        write_adapter(Lora(4, 4.0, {"blk.0.attn_q.weight": pair}), tmp_path / "a.gguf", base, "F32", "Mine", {})
    assert not (tmp_path / "a.gguf").exists()


def test_a_layer_without_a_name_in_gguf_is_refused(base: Path, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    saved = load_file(copy / "adapter_model.safetensors")
    values = next(iter(saved.values()))
    save_file({**saved, "base_model.model.lm_head.lora_A.weight": values}, copy / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"it changes 'base_model\.model\.lm_head\.lora_A\.weight'"):
        load_lora(copy, read_header(base))


def test_a_missing_half_is_named(base: Path, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    saved = load_file(copy / "adapter_model.safetensors")
    del saved["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"]
    save_file(saved, copy / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"no A and B of rank 8 for blk\.0\.ffn_up\.weight"):
        load_lora(copy, read_header(base))
