"""`divconq serve` with something in the server's and the engine's place, and what a served decomposer is asked."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq import Decomposer
from langchain_divconq.cli import main, serve
from langchain_divconq.cli.http_api import Api
from langchain_divconq.errors import EngineError
from langchain_divconq.grammar import MAX_TOKENS, decomposition_grammar
from langchain_divconq.llamacpp.engines import load_engine as load_for_real
from langchain_divconq.llamacpp.engines.base import EngineName, EngineSettings
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.gguf_writer import write_adapter, write_model
from tests.unit_tests.command_line import Command
from tests.unit_tests.fake_engine import FakeEngine
from tests.unit_tests.fakes import PLAN, QUESTION, raising, scripted


class Started:
    """What was loaded and served."""

    def __init__(self) -> None:
        self.engines: list[tuple[EngineSettings, EngineName | None]] = []
        self.served: list[tuple[Any, Api]] = []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What was started; none opens a socket, and SIGTERM comes as soon as one waits."""
    seen = Started()

    class Server:
        server_address = ("127.0.0.1", 4711)

        def __init__(self, address: Any, _: socket.AddressFamily, api: Api) -> None:
            seen.served.append((address, api))

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def serve_forever(self) -> None:
            pass

    def load(settings: EngineSettings, name: EngineName | None) -> FakeEngine:
        seen.engines.append((settings, name))
        return FakeEngine([])

    monkeypatch.setattr(serve, "Server", Server)
    monkeypatch.setattr(serve, "load_engine", load)
    monkeypatch.setattr(serve, "create_engine", load)
    monkeypatch.setattr(serve, "_address", lambda host, port, _: (socket.AF_INET, (host, port)))
    monkeypatch.setattr(time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.delenv(serve.KEY_VARIABLE, raising=False)
    return seen


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.gguf")


def test_it_serves_until_it_is_stopped(started: Started, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), "--slots", "3", "--n-ctx", "512", "--threads", "2", "--port", "0"])
    assert signal.getsignal(signal.SIGTERM) == before
    shown = capsys.readouterr()
    assert shown.out == serve.render_client("127.0.0.1", 4711, has_key=False, has_adapter=False)
    assert shown.err == (
        "Serving Tiny by llama-cpp-python; slots: 3, threads: 2 each, context: 512 tokens. Ctrl-C stops it.\nstopped\n"
    )
    ((address, api),) = started.served
    assert (address, api.name, api.key, api.free.qsize()) == (("127.0.0.1", 0), "Tiny", None, 3)


def test_each_slot_has_an_engine_and_all_are_as_in_a_process(started: Started, model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf")
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), "--adapter", str(adapter), "--slots", "2", "--engine", "xllamacpp"])
    settings = EngineSettings(model, adapter, n_ctx=4096, n_threads=started.engines[0][0].n_threads)
    assert [each for each, _ in started.engines] == [settings, settings]
    assert started.engines[0][1] == "xllamacpp"


@pytest.mark.parametrize("by_option", [True, False])
def test_the_key_is_asked_of_clients_and_never_shown(
    by_option: bool, started: Started, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not by_option:
        monkeypatch.setenv(serve.KEY_VARIABLE, "secret")
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--model", str(model), *(["--api-key", "secret"] if by_option else [])])
    assert started.served[0][1].key == "secret"
    shown = capsys.readouterr()
    assert 'api_key=os.environ["DIVCONQ_API_KEY"]' in shown.out
    assert "secret" not in shown.out + shown.err


@pytest.mark.parametrize("key", ["", " ", "\t", " secret", "secret ", "sécret", "a\nb"])
@pytest.mark.parametrize("by_option", [True, False])
def test_a_blank_key_and_one_that_no_header_carries_are_refused(
    key: str, by_option: bool, started: Started, model: Path, monkeypatch: pytest.MonkeyPatch, divconq: Command
) -> None:
    if not by_option:
        monkeypatch.setenv(serve.KEY_VARIABLE, key)
    if not by_option and not key:  # a variable that is set to nothing is not set
        return
    option = ["--api-key", key] if by_option else []
    code, _, err = divconq("serve", "--model", model, "--host", "0.0.0.0", *option)
    assert (code, started.served) == (2, [])
    assert f"The key in {'--api-key' if by_option else 'DIVCONQ_API_KEY'} is blank, begins" in err


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
def test_others_are_not_let_in_without_a_key(host: str, monkeypatch: pytest.MonkeyPatch, divconq: Command) -> None:
    monkeypatch.delenv(serve.KEY_VARIABLE, raising=False)
    code, _, err = divconq("serve", "--host", host)
    assert (code, f"--host {host} lets other machines in, and there is no key" in err) == (2, True)


@pytest.mark.parametrize("option", [["--port", "65536"], ["--port", "-1"], ["--slots", "0"], ["--n-ctx", "x"]])
def test_a_number_out_of_range_ends_with_the_usage(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *option])
    assert f"{option[1]!r} is given; expected a whole number from" in capsys.readouterr().err


def test_an_adapter_that_does_not_fit_is_refused_before_anything_is_loaded(
    started: Started, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divconq: Command
) -> None:
    monkeypatch.setattr(serve, "load_engine", load_for_real)
    adapter = write_adapter(tmp_path / "adapter.gguf", inner=16)
    code, _, err = divconq("serve", "--model", model, "--adapter", adapter, "--engine", "xllamacpp")
    assert (code, "AdapterMismatchError: " in err, started.served) == (1, True, [])


def test_a_model_that_does_not_load_is_one_message(
    started: Started, model: Path, monkeypatch: pytest.MonkeyPatch, divconq: Command
) -> None:
    monkeypatch.setattr(serve, "load_engine", raising(EngineError("no memory")))
    assert divconq("serve", "--model", model)[::2] == (1, "divconq: EngineError: no memory\n")


def test_a_served_decomposer_sends_the_grammar_in_the_body() -> None:
    server = scripted(PLAN)
    decomposition = Decomposer(model=server, llama_server=True, max_subquestions=2).invoke(QUESTION)
    assert len(decomposition.subquestions) == 2
    [options] = server.options
    assert options.pop("extra_body") == {"grammar": decomposition_grammar(2)}
    assert options == {"max_tokens": 2 * MAX_TOKENS, "logprobs": True, "top_logprobs": 20}
    Decomposer(model=server, llama_server=True, max_subquestions=2, num_beams=3).invoke(QUESTION)
    assert server.options[-1]["extra_body"] == {"grammar": decomposition_grammar(2), "num_beams": 3}


def test_a_served_decomposer_is_asked_again_where_the_gate_wants_a_plan() -> None:
    replies = iter([NO_DECOMPOSITION, PLAN])
    server = scripted(lambda _: next(replies), logprobs={"No": -0.5, "1": -0.9})
    decomposition = Decomposer(model=server, llama_server=True, gate=0.9).invoke(QUESTION)
    assert len(decomposition.subquestions) == 2
    grammars = [options["extra_body"]["grammar"] for options in server.options]
    assert grammars == [decomposition_grammar(4), decomposition_grammar(4, allow_none=False)]


def test_other_servers_are_sent_no_grammar() -> None:
    server = scripted(PLAN)
    Decomposer(model=server).invoke(QUESTION)
    assert server.options == [{}]
