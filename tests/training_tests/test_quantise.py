"""Tests of which tensor is stored in which type. The quantiser is llama.cpp's: integration_tests/test_export."""

from pathlib import Path
from typing import get_args

import gguf
import numpy as np

from training.config import Quantisation
from training.gguf.quantise import stored_types


def test_every_quantisation_a_config_may_ask_for_is_a_file_type_of_llama_cpp() -> None:
    assert {f"MOSTLY_{kind}" for kind in get_args(Quantisation)} <= gguf.LlamaFileType.__members__.keys()


def test_matrices_are_counted_by_type_and_vectors_are_not(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "mixed.gguf", "llama")
    values = np.zeros((4, 32), "f")
    for number, kind in enumerate(("Q8_0", "Q4_0", "Q8_0")):
        stored = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(f"blk.{number}.attn_q.weight", gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.add_tensor("output_norm.weight", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert list(stored_types(tmp_path / "mixed.gguf").items()) == [("Q8_0", 2), ("Q4_0", 1)]
