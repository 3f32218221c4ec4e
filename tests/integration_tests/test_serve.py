"""`divconq serve`, a process of its own on loopback: what it replies, to whom, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.weights import default_adapter
from tests.benchmarks.questions import questions
from tests.benchmarks.serve import COMMAND, KEY, connect, load, outcome, serving
from tests.gguf_writer import write_adapter
from tests.repository import ROOT

QUESTION = "Who is the spouse of the author of the novel Emma?"
# Of several kinds; some have a passage.
ASKED = questions(6, seed=41)
# A cap that binds and one that hardly does; a gate that divides, one in between, one that hardly ever divides.
FIELDS: list[dict[str, Any]] = [
    {"max_subquestions": cap, "gate": gate} for cap in (3, 1) for gate in ("always", 0.5, 0.02)
]


@pytest.fixture(scope="module")
def printed() -> Iterator[str]:
    """What a server prints that runs as long as this module's tests."""
    with serving() as text:
        yield text


def test_questions_get_the_decompositions_they_get_in_process(printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, code = printed.split("\n", maxsplit=1)
    monkeypatch.setenv("DIVCONQ_API_KEY", KEY)
    namespace: dict[str, Any] = {}
    exec(code, namespace)  # the lines that the server prints for its clients
    served: Decomposer = namespace["decomposer"]
    assert (url.startswith("http://127.0.0.1:"), KEY in printed) == (True, False)
    local = Decomposer(model=ChatGGUF(adapter_path=default_adapter()))
    divided = 0
    for number, question in enumerate(ASKED):
        fields = FIELDS[number % len(FIELDS)]
        here = local.model_copy(update=fields).invoke(question)
        there = served.model_copy(update=fields).invoke(question)
        assert outcome(there) == outcome(here), question
        assert there.usage.input_tokens == here.usage.input_tokens
        assert (there.no_decomposition_probability is None) == (there.usage.calls == 0), "only the guard asks no model"
        divided += bool(here.subquestions)
    assert 0 < divided < len(ASKED)


@pytest.mark.parametrize("slots", [1, 4])
def test_clients_at_once_get_each_the_reply_to_their_own_question(slots: int) -> None:
    with serving("--slots", str(slots)) as printed:
        clients = [connect(printed, max_subquestions=1, gate="always") for _ in range(4)]
        result = load(clients, ASKED[:3])
    assert (result["requests"], result["failures"], result["distinct_replies"]) == (12, [], 3)
    assert result["wrong_replies"] == []


def test_an_adapter_is_served_with_the_model_it_fits(gguf_path: Path, tmp_path: Path) -> None:
    tensor = "blk.0.ffn_up.weight"
    inner, outer = read_header(gguf_path).shapes[tensor]
    adapter = write_adapter(tmp_path / "much.gguf", tensor=tensor, inner=inner, outer=outer, fill=1.0)
    bare, adapted = (
        Decomposer(model=ChatGGUF(model_path=gguf_path, adapter_path=path), prompt_style="student", max_subquestions=1)
        for path in (None, adapter)
    )
    with serving("--model", str(gguf_path), "--adapter", str(adapter)) as printed:
        assert 'prompt_style="student"' in printed
        served = connect(printed, max_subquestions=1).model_copy(update={"prompt_style": "student"})
        assert outcome(served.invoke(QUESTION)) == outcome(adapted.invoke(QUESTION)) != outcome(bare.invoke(QUESTION))


async def test_async_calls_give_the_same(printed: str) -> None:
    async with openai.DefaultAsyncHttpxClient() as client:  # ChatOpenAI's own would outlive this event loop
        decomposer = connect(printed, max_subquestions=1)
        model = ChatOpenAI(base_url=printed.split()[0], api_key=SecretStr(KEY), http_async_client=client)
        awaited = await decomposer.model_copy(update={"model": model}).ainvoke(QUESTION)
    assert outcome(awaited) == outcome(decomposer.invoke(QUESTION))


@pytest.mark.parametrize("key", ["none", "another"])
def test_whoever_lacks_the_key_is_turned_away(printed: str, key: str) -> None:
    model = ChatOpenAI(base_url=printed.split()[0], api_key=SecretStr(key), max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="Invalid API Key"):
        Decomposer(model=model, llama_server=True).invoke(QUESTION)


def test_no_request_without_the_key_changes_or_shows_anything(printed: str) -> None:
    url = printed.split()[0].removesuffix("/v1")
    before = connect(printed, max_subquestions=1).invoke(QUESTION)
    changes = b'[{"id": 0, "scale": 0}]'
    for path in ("/lora-adapters", "/slots/0?action=erase", "/props", "/v1/chat/completions"):
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Authorization": "x"}):
            sent = urllib.request.Request(f"{url}{path}", changes, headers)
            with pytest.raises(urllib.error.HTTPError, match=r"40[145]") as caught:
                urllib.request.urlopen(sent, timeout=60)
            caught.value.close()
    for path in ("/props", "/slots", "/metrics", "/lora-adapters"):
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"{url}{path}", timeout=60)
        assert b"gguf" not in caught.value.read()
        caught.value.close()
    assert outcome(connect(printed, max_subquestions=1).invoke(QUESTION)) == outcome(before)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_it_at_once_and_in_peace(how: signal.Signals, busy: bool) -> None:
    process = subprocess.Popen(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        model = ChatOpenAI(base_url=url, api_key=SecretStr("none"), max_retries=0)
        cut: list[Exception] = []

        def ask() -> None:
            try:
                model.invoke("Count.", max_tokens=4000, extra_body={"grammar": 'root ::= "a"*'})
            except openai.APIConnectionError as error:
                cut.append(error)

        threads = [Thread(target=ask) for _ in range(3 * busy)]
        for thread in threads:
            thread.start()
        time.sleep(1 * busy)
        start = time.monotonic()
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
        for thread in threads:
            thread.join()
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors.endswith("stopped\n"), "Traceback" in errors) == (0, True, False), errors
    assert len(cut) == len(threads)
    assert time.monotonic() - start < 10


def test_a_port_that_is_taken_is_wrong_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = refused("--port", str(other.getsockname()[1]))
    assert run.returncode == 2
    assert "another program has it. Pass another --port" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_host_that_is_none_is_wrong_use() -> None:
    run = refused("--host", "no host", "--api-key", KEY)
    assert run.returncode == 2
    assert run.stderr.startswith("divconq: Port 0 of no host cannot be served: ")


def refused(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is not to start."""
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)


@contextmanager
def llama_cpp_python_server(model: Path) -> Iterator[str]:
    """Yield the URL of llama-cpp-python's own server, told not to end a reply when the next request comes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--interrupt_requests", "false", "--n_ctx", "1024", "--verbose", "false"]
    command += ["--n_batch", "32", "--n_ubatch", "32", "--flash_attn", "true", "--n_threads", "1"]
    command += ["--lora_path", str(default_adapter())]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    url = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, "the server ended; it says why above"
            try:
                urllib.request.urlopen(f"{url}/models", timeout=10).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server was not there after two minutes"
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def test_llama_cpp_pythons_own_server_serves_a_decomposer_too(gguf_path: Path) -> None:
    with llama_cpp_python_server(gguf_path) as url:
        clients = [
            Decomposer(
                model=ChatOpenAI(base_url=url, api_key=SecretStr("none"), temperature=0, max_retries=0),
                llama_server=True,
                prompt_style="student",
                max_subquestions=1,
            )
            for _ in range(2)
        ]
        result = load(clients, [question for question in ASKED if question.context is None][:1])
        probability = clients[0].invoke(QUESTION).no_decomposition_probability
    assert (result["requests"], result["failures"], result["wrong_replies"]) == (2, [], [])
    assert probability is not None
