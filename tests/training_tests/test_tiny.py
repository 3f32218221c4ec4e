"""The random model that tests and the smoke run use in a real one's place."""

from pathlib import Path
from typing import get_args

import pytest

from langchain_divconq.llamacpp.engines.gguf import check_model, read_array, read_header
from training.student.tiny import Architecture, make_tiny


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_it_is_a_whole_model_under_a_megabyte(architecture: Architecture, tmp_path: Path) -> None:
    path = make_tiny(tmp_path / "new" / "tiny.gguf", architecture)
    header = read_header(path)
    check_model(header)
    assert header.architecture == architecture
    assert "<|im_start|>" in header.text("tokenizer.chat_template")
    assert ("output.weight" in header.shapes) == (architecture == "qwen2")
    assert ("blk.1.attn_q.bias" in header.shapes) == (architecture == "qwen2")
    assert ("blk.1.attn_k_norm.weight" in header.shapes) == (architecture == "qwen3")
    assert path.stat().st_size < 1_000_000
    assert list(path.parent.iterdir()) == [path]


def test_its_weights_follow_the_seed_alone(tmp_path: Path) -> None:
    first, again, other = (
        make_tiny(tmp_path / f"{number}.gguf", seed=seed).read_bytes() for number, seed in enumerate((3, 3, 4))
    )
    assert first == again != other


def test_its_tokenizer_has_words_and_every_byte(tmp_path: Path) -> None:
    header = read_header(make_tiny(tmp_path / "tiny.gguf"))
    tokens = read_array(header, "tokenizer.ggml.tokens")
    assert len(set(tokens)) == len(tokens) == header.shapes["token_embd.weight"][1] == 512
    assert sum(len(token) == 1 for token in tokens) == 256
    assert {"<|im_end|>", "ĠHow", "How", "Ġthe"} <= set(tokens)
