"""Files of weights are tried in a child process before they are loaded here, once."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from langchain_divconq.errors import EngineError, InvalidWeightsError
from langchain_divconq.llamacpp import weights
from langchain_divconq.llamacpp.engines import trial
from langchain_divconq.llamacpp.engines.base import NO_NUMBERS, EngineSettings
from langchain_divconq.llamacpp.engines.gguf import check_model, check_numbers, read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from tests.gguf_writer import Value, gguf_bytes, write_adapter, write_model
from tests.unit_tests.fakes import raising


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(metadata, "version", lambda _: "1.0")
    return EngineSettings(write_model(tmp_path / "m.gguf"))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    monkeypatch.setattr(trial, "run_trial", lambda settings, name: seen.append(settings.model_path))
    return seen


def attempt(settings: EngineSettings, marks: tuple[str, ...] = ("a",)) -> None:
    trial.pass_trial(settings, "xllamacpp", list(marks))


def test_what_passed_is_not_tried_again_until_something_changes(
    settings: EngineSettings, tried: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        attempt(settings)
    assert len(tried) == 1
    attempt(settings, ("b",))
    attempt(replace(settings, n_ctx=64))
    monkeypatch.setattr(metadata, "version", lambda _: "2.0")
    attempt(settings)
    assert len(tried) == 4


def test_what_failed_is_tried_again(settings: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run_trial", raising(InvalidWeightsError("damaged")))
    for _ in range(2):
        with pytest.raises(InvalidWeightsError, match="damaged"):
            attempt(settings)


def test_a_home_that_cannot_be_written_to_means_a_trial_each_time(
    settings: EngineSettings, tried: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(settings.model_path))
    for _ in range(2):
        attempt(settings)
    assert len(tried) == 2


def test_the_default_weights_and_the_shipped_adapter_are_not_tried(settings: EngineSettings, tried: list[Path]) -> None:
    mark = weights.DEFAULT_SHA256
    attempt(settings, (mark,))
    attempt(replace(settings, adapter_path=weights.default_adapter()), (mark, "b"))
    assert tried == []
    attempt(replace(settings, adapter_path=settings.model_path), (mark, "b"))
    assert len(tried) == 1


@pytest.mark.parametrize("amx", [True, False])
def test_where_amx_is_named_and_missing_the_weights_are_loaded_without_it(
    settings: EngineSettings, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []

    def run(command: list[str], *, input: bytes, **_: object) -> "subprocess.CompletedProcess[bytes]":
        tried.append(json.loads(input)["plain"])
        return subprocess.CompletedProcess(command, 0 if tried[-1] else -4, b"divconq-trial:null" * tried[-1], b"")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(trial, "_is_built_for_amx", lambda: amx)
    if not amx:
        assert not trial.pass_trial(settings, "llama-cpp-python", [weights.DEFAULT_SHA256])
        with pytest.raises(EngineError, match="SIGILL"):
            trial.pass_trial(settings, "llama-cpp-python", ["a"])
        return
    for _ in range(2):  # the second time from what was kept
        assert trial.pass_trial(settings, "llama-cpp-python", [weights.DEFAULT_SHA256])
    assert tried == [False, True]


def test_what_llama_cpp_was_built_for_is_read_from_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in (b"CPU : AMX_INT8 = 1 | AVX2 = 1 |", b"CPU : AVX2 = 1 |"):
        library = ModuleType("llama_cpp")
        library.__dict__["llama_print_system_info"] = lambda said=said: said
        monkeypatch.setitem(sys.modules, "llama_cpp", library)
        assert trial._is_built_for_amx() == (b"AMX" in said)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert not trial._is_built_for_amx()


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("import os; os.abort()", InvalidWeightsError, "ended with SIGABRT: llama.cpp gave up on the file"),
        ("import sys; sys.exit('GGML_ASSERT(n > 0) failed')", InvalidWeightsError, r"\(GGML_ASSERT\(n > 0\) failed\)"),
        ("import os; os.kill(os.getpid(), 9)", InvalidWeightsError, "SIGKILL: most likely there is not enough memory"),
        ("import os; os.kill(os.getpid(), 4)", EngineError, "SIGILL: an instruction that this processor does not have"),
        ("import time; time.sleep(60)", InvalidWeightsError, "did not end in 1 seconds"),
        ("print('divconq-trial:null')", None, ""),
        ('print(\'divconq-trial:{{"kind": "GrammarError", "message": "no"}}\')', EngineError, r"m\.gguf: no$"),
    ],
)
def test_how_a_child_ended_is_said_in_words(
    settings: EngineSettings, code: str, kind: type[EngineError] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_CHILD", code)
    monkeypatch.setattr(trial, "_SECONDS", 1 if "sleep" in code else 30)
    monkeypatch.setattr(trial, "_PATIENCE", 1)
    if kind is None:
        trial.run_trial(settings, "xllamacpp")
        return
    with pytest.raises(kind, match=message) as caught:
        trial.run_trial(settings, "xllamacpp")
    assert kind is not EngineError or not isinstance(caught.value, InvalidWeightsError)


def test_the_line_that_mends_an_illegal_instruction_is_given() -> None:
    for code in (-signal.SIGILL, 132):
        assert "GGML_NATIVE=OFF" in trial.explain_death(code, "llama-cpp-python")
    assert "--force-reinstall xllamacpp" in trial.explain_death(-signal.SIGILL, "xllamacpp")
    assert trial.explain_death(3, "xllamacpp").startswith("exit code 3")


def test_where_no_child_can_be_started_nothing_is_tried(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(settings.model_path))
    trial.run_trial(settings, "xllamacpp")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"llama.block_count": 0}, "llama.block_count is 0; expected 1 to 512"),
        ({"llama.block_count": 2**31}, "llama.block_count is 2147483648"),
        ({"llama.context_length": 0}, "llama.context_length is 0"),
        ({"llama.embedding_length": 0}, "llama.embedding_length is 0"),
        ({"llama.attention.layer_norm_rms_epsilon": math.nan}, "epsilon is nan; expected a number"),
        ({"llama.rope.freq_base": math.inf}, "freq_base is inf"),
        ({"tokenizer.chat_template": "x" * 1_000_001}, "a chat template of 1,000,001 characters"),
    ],
)
def test_a_value_that_ends_llama_cpp_is_named_before_it_sees_the_file(
    tmp_path: Path, values: dict[str, Value], fault: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", **values}, {"token_embd.weight": (8, 4)}))
    with pytest.raises(InvalidWeightsError, match=fault):
        check_model(read_header(path))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_adapter_whose_values_are_no_numbers_is_named_with_its_tensor(tmp_path: Path, value: float) -> None:
    path = write_adapter(tmp_path / "a.gguf", fill=1.0)
    check_numbers(read_header(path))
    content = bytearray(path.read_bytes())
    content[-4:] = struct.pack("<f", value)
    path.write_bytes(content)
    with pytest.raises(InvalidWeightsError, match=r"a\.gguf is damaged: blk\.0\.attn_q\.weight\.lora_b holds"):
        check_numbers(read_header(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_and_an_endless_device_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), (Path("/dev/zero"), "a device or socket"), (tmp_path, "a folder")):
        for read in (read_header, fingerprint):
            with pytest.raises(InvalidWeightsError, match=f"it is {kind}, not a file"):
                read(path)


def test_numbers_that_are_none_are_blamed_on_the_files(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], 0, b"divconq-trial:" + _verdict(NO_NUMBERS), b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(InvalidWeightsError, match=r"m\.gguf: The model's probabilities are no numbers"):
        trial.run_trial(settings, "xllamacpp")
    done.stdout, done.stderr = (
        b"divconq-trial:" + _verdict("Failed to init"),
        b"ggml_validate_row_data: found nan value",
    )
    with pytest.raises(InvalidWeightsError, match=r"m\.gguf: the weights hold values that are no numbers"):
        trial.run_trial(settings, "xllamacpp")


def _verdict(message: str) -> bytes:
    return f'{{"kind": "EngineError", "message": "{message}"}}'.encode()
