"""Files that end llama.cpp's process, or keep it for ever: an error here, and the process goes on."""

import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from langchain_divconq import ChatGGUF, EngineError, InvalidWeightsError
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.gguf_writer import STRING, Parts
from training.student.tiny import make_tiny

U32, F32 = 4, 6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(autouse=True)
def _remember_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def value(key: str, kind: int, raw: bytes) -> Callable[[Parts], None]:
    return lambda parts: parts.values.update({key: (kind, raw)})


def text(key: str, raw: bytes) -> Callable[[Parts], None]:
    return value(key, STRING, struct.pack("<Q", len(raw)) + raw)


def template(raw: bytes) -> Callable[[Parts], None]:
    return text("tokenizer.chat_template", raw)


def ask(engine: EngineName, tiny: Path, path: Path, change: Callable[[Parts], None]) -> None:
    parts = Parts.read(tiny.read_bytes())
    change(parts)
    path.write_bytes(parts.write())
    ChatGGUF(model_path=path, engine=engine, n_ctx=256, max_tokens=2).invoke([HumanMessage("Hi")])


def not_a_number(parts: Parts) -> None:
    tensor = parts.tensors["blk.1.ffn_up.weight"]
    tensor.data = struct.pack("<f", math.nan) + tensor.data[4:]


@pytest.mark.parametrize(
    "change",
    [
        value("llama.block_count", U32, struct.pack("<I", 0)),
        value("llama.block_count", U32, struct.pack("<I", 2**31)),
        value("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", math.nan)),
        value("llama.context_length", U32, struct.pack("<I", 0)),
        text("tokenizer.ggml.model", b"llama"),
        template(b"{% for a in range(99999) %}" * 3 + b"{% endfor %}" * 3),
        template(b"x" * 2_000_000),
        not_a_number,
    ],
)
def test_a_damaged_file_is_an_error_and_the_process_goes_on(
    engine_name: EngineName,
    tiny: Path,
    tmp_path: Path,
    change: Callable[[Parts], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("langchain_divconq.llamacpp.engines.trial._SECONDS", 4)
    with pytest.raises(EngineError, match=r"damaged\.gguf") as caught:
        ask(engine_name, tiny, tmp_path / "damaged.gguf", change)
    assert isinstance(caught.value, InvalidWeightsError) or engine_name == "xllamacpp"


@pytest.mark.parametrize("raw", [b"{% for", b"\xff\xfe{{ messages", b"{{ raise_exception('no') }}", b""])
def test_a_broken_template_is_an_error_of_ours(engine_name: EngineName, tiny: Path, tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(EngineError, match=r"template"):
        ask(engine_name, tiny, tmp_path / "broken.gguf", template(raw))


def test_a_whole_file_is_tried_and_answers(engine_name: EngineName, tiny: Path, tmp_path: Path) -> None:
    ask(engine_name, tiny, tmp_path / "whole.gguf", lambda parts: None)
    assert len(list((tmp_path / "langchain-divconq" / "loads").iterdir())) == 1
