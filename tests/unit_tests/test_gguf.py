import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.errors import AdapterMismatchError, EngineError, InvalidWeightsError, WeightsNotFoundError
from langchain_divconq.llamacpp.engines.gguf import check_adapter, check_model, read_array, read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from tests.gguf_writer import Value, gguf_bytes, write_adapter, write_model

METADATA: dict[str, Value] = {"general.architecture": "llama", "general.name": "Tiny", "llama.context_length": 2048}
METADATA |= {"some.float": 0.5, "some.flag": True}
METADATA |= {"tokenizer.ggml.tokens": ["<s>", "a", "é"], "tokenizer.ggml.token_type": [3, 1, 1]}
VALID = gguf_bytes(METADATA, {"token_embd.weight": (8, 4), "output_norm.weight": (8,)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def test_the_header_tells_values_arrays_and_shapes(path: Path) -> None:
    path.write_bytes(VALID)
    header = read_header(path)
    assert (header.architecture, header.name, header.context_length) == ("llama", "Tiny", 2048)
    assert header.shapes == {"token_embd.weight": (8, 4), "output_norm.weight": (8,)}
    assert read_array(header, "tokenizer.ggml.tokens") == ["<s>", "a", "é"]
    assert read_array(header, "tokenizer.ggml.token_type") == [3, 1, 1]
    assert read_array(header, "absent") == []
    assert header.text("absent") == ""
    assert header.integer("some.flag") is None
    check_model(header)


def test_a_model_without_a_name_is_called_by_its_file(path: Path) -> None:
    path.write_bytes(gguf_bytes({"general.architecture": "llama"}))
    assert read_header(path).name == "tiny"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04 a zip file", "is not a GGUF file"),
        (VALID[:3], "is not a GGUF file"),
        (VALID[:40], "cut short"),
        (VALID[:-1], "cut short"),
        (gguf_bytes({}, version=1), "version 1; llama.cpp reads versions 2 and 3"),
        (gguf_bytes({"general.alignment": 3}), "no power of two"),
        (gguf_bytes({}, {"a": (1, 1, 1, 1, 1)}), "5 dimensions"),
    ],
)
def test_what_is_no_whole_gguf_is_refused_in_words(path: Path, content: bytes, fault: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidWeightsError, match=fault):
        read_header(path)


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    for read in (read_header, fingerprint):
        with pytest.raises(WeightsNotFoundError, match="no file at"):
            read(tmp_path / "absent.gguf")
        with pytest.raises(InvalidWeightsError, match="cannot be read"):
            read(tmp_path)


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    _read(tmp_path_factory, content)
    _read(tmp_path_factory, b"GGUF\x03\x00\x00\x00" + content)


@given(st.integers(0, len(VALID)), st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6))
def test_no_damage_makes_the_reader_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, length: int, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(VALID)
    for place, value in changes:
        content[place] = value
    _read(tmp_path_factory, bytes(content[:length]))


@given(st.integers(4, 200), st.integers(0, 2**64 - 1))
def test_no_impossible_count_makes_the_reader_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, count: int
) -> None:
    _read(tmp_path_factory, VALID[:place] + count.to_bytes(8, "little") + VALID[place + 8 :])


def _read(factory: pytest.TempPathFactory, content: bytes) -> None:
    path = factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(content)
    try:
        header = read_header(path)
        read_array(header, "tokenizer.ggml.tokens")
        check_model(header)
        check_adapter(header, header)
    except EngineError:
        pass


def test_a_vocabulary_is_no_model_and_a_model_no_adapter(path: Path) -> None:
    path.write_bytes(gguf_bytes({"general.architecture": "llama"}))
    with pytest.raises(InvalidWeightsError, match="without a model in it"):
        check_model(read_header(path))
    model = read_header(write_model(path))
    with pytest.raises(AdapterMismatchError, match="is not a LoRA adapter"):
        check_adapter(model, model)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"architecture": "gemma"}, "trained on the architecture 'gemma', the model is a 'llama'"),
        ({"kind": "control_vector"}, "is not a LoRA adapter"),
        ({"tensor": "blk.7.attn_q.weight"}, "no tensor 'blk.7.attn_q.weight'"),
        ({"inner": 16}, "maps 8 to 8 values"),
        ({"outer": 16}, "maps 8 to 8 values"),
    ],
)
def test_an_adapter_of_another_model_is_refused_in_words(
    tmp_path: Path, options: dict[str, object], fault: str
) -> None:
    model = read_header(write_model(tmp_path / "m.gguf"))
    adapter = read_header(write_adapter(tmp_path / "a.gguf", **options))  # type: ignore[arg-type]
    with pytest.raises(AdapterMismatchError, match=fault):
        check_adapter(model, adapter)


def test_a_fingerprint_is_computed_again_when_the_file_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one")
    first = fingerprint(path)
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    monkeypatch.setattr("hashlib.file_digest", None)  # a second computation would fail
    assert fingerprint(path) == first
    monkeypatch.undo()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) != first
