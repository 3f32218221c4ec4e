"""Tests of `divconq serve`: requests over a pair of sockets, with a fake engine in the model's place."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_divconq import ChatGGUF
from langchain_divconq.cli import http_api
from langchain_divconq.cli.http_api import Api, Handler
from langchain_divconq.errors import EngineError, GrammarError, InvalidWeightsError
from tests.unit_tests.fake_engine import FakeEngine, install

CHAT = {"messages": [{"role": "user", "content": "Who?"}]}
LOCAL = {"Host": "127.0.0.1:8080", "Content-Type": "application/json"}


def exchange(request: bytes, api: Api, *, close: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of what comes back; `close`: the client goes away at once."""
    ours, theirs = socket.socketpair()
    server: Any = SimpleNamespace(api=api)

    def answer_and_close() -> None:
        with theirs:
            Handler(theirs, ("client", 0), server)

    thread = threading.Thread(target=answer_and_close)
    thread.start()
    with ours:
        ours.sendall(request)
        if close:
            ours.close()
            thread.join(10)
            assert not thread.is_alive()
            return 0, {}, b""
        ours.settimeout(10)
        answer = b"".join(iter(lambda: ours.recv(65536), b""))
    thread.join(10)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(body: Any, api: Api | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = exchange(request("POST", "/v1/chat/completions", {**LOCAL, **headers}, data), api or served())
    return status, json.loads(answer)


def served(key: str | None = None, models: int = 1) -> Api:
    return Api([ChatGGUF(timeout=http_api.MOST_SECONDS) for _ in range(models)], "tiny", key)


def test_a_reply_has_openais_shape(engine: FakeEngine) -> None:
    asked = {**CHAT, "logprobs": True, "top_logprobs": 2, "max_completion_tokens": 9, "stop": "x", "num_beams": 2}
    status, reply = post(asked)
    assert (status, reply["object"], reply["model"]) == (200, "chat.completion", "tiny")
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": "The sky is blue."}
    assert choice["finish_reason"] == "stop"
    assert [len(entry["top_logprobs"]) for entry in choice["logprobs"]["content"]] == [2] * 5
    assert reply["usage"]["completion_tokens"] == 5
    assert (engine.requests[0].max_tokens, engine.requests[0].temperature, engine.requests[0].num_beams) == (9, 0.0, 2)


def test_a_stream_ends_with_reason_usage_and_done(engine: FakeEngine) -> None:
    body = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}}).encode()
    status, headers, answer = exchange(request("POST", "/v1/chat/completions", LOCAL, body), served())
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    *events, done = [line.removeprefix("data: ") for line in answer.decode().split("\n\n") if line]
    chunks = [json.loads(event) for event in events]
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "The sky is blue."
    assert (chunks[-2]["choices"][0]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]) == ("stop", 5)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/health", 200), ("GET", "/v1/models", 200), ("GET", "/v1/models?x=1", 200)),
        *(("POST", "/health", 405), ("DELETE", "/v1/models", 405)),
        ("OPTIONS", "/v1/chat/completions", 405),
        *(("HEAD", "/health", 405), ("POST", "/lora-adapters", 404)),
        ("POST", "/slots/0?action=erase", 404),
        *(("GET", "/props", 404), ("GET", "/", 404)),
        ("GET", "/v1/models/../../etc/passwd", 404),
        ("__class__", "/health", 405),
    ],
)
def test_there_is_nothing_but_the_three_endpoints(engine: FakeEngine, method: str, path: str, status: int) -> None:
    assert exchange(request(method, path, LOCAL), served())[0] == status
    assert engine.requests == []


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:80:80", "192.0.2.1", "[::2]:80"]
)
def test_a_foreign_name_of_this_machine_is_refused_without_a_key(engine: FakeEngine, host: str) -> None:
    for path in ("/health", "/v1/models"):
        assert exchange(request("GET", path, {"Host": host}), served())[0] == 403
    assert exchange(request("GET", "/health", {"Host": host or "x"}), served("secret"))[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:8080", "[::1]:8080"])
def test_the_names_of_loopback_are_not(engine: FakeEngine, host: str) -> None:
    assert post(CHAT, Host=host)[0] == 200


@pytest.mark.parametrize(
    "header", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
@pytest.mark.parametrize("key", [None, "secret"])
def test_pages_in_a_browser_are_refused_with_and_without_a_key(
    engine: FakeEngine, header: dict[str, str], key: str | None
) -> None:
    status, reply = post(CHAT, served(key), Authorization=f"Bearer {key}", **header)
    assert (status, engine.requests) == (403, [])
    assert "Pages in a browser" in reply["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_that_a_form_could_send_is_refused(engine: FakeEngine, kind: str) -> None:
    status, _ = post(CHAT, None, **{"Content-Type": kind})
    assert (status, engine.requests) == (415, [])


@pytest.mark.parametrize(
    ("sent", "status"),
    [("Bearer secret", 200), ("secret", 200), ("Bearer other", 401), ("", 401), ("Bearer sécret", 401)],
)
def test_a_key_is_asked_for(engine: FakeEngine, sent: str, status: int) -> None:
    assert post(CHAT, served("secret"), Authorization=sent)[0] == status
    assert len(engine.requests) == (status == 200)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        *((b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 100_000, "not JSON")),
        *(([], "a JSON object with a list of messages"), ({"messages": "x"}, "a list of messages")),
        ({"messages": []}, "no messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "A message has a role"),
        ({"messages": [{"role": "user", "content": None}]}, "A message has a role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "block of type 'image_url'"),
        *(({**CHAT, "n": 2}, "one reply"), ({**CHAT, "tools": [{}]}, "no tools")),
        ({**CHAT, "temperature": "hot"}, "temperature is 'hot'"),
        ({**CHAT, "max_tokens": -1}, "max_tokens is -1"),
        ({**CHAT, "top_logprobs": 10**9}, "top_logprobs is 1000000000"),
        ({**CHAT, "stop": ["x"] * 100}, "stop is a string"),
        ({**CHAT, "grammar": "x" * 8001}, "grammar has 8,003 characters; this server takes 8,000"),
        ({**CHAT, "response_format": {"type": "json_schema", "schema": {"x": "y" * 8000}}}, "response_format has"),
        ({**CHAT, "grammar": "root ::= (", "response_format": {"type": "json_object"}}, "not both"),
    ],
)
def test_a_body_that_asks_for_what_there_is_not_is_refused_in_words(engine: FakeEngine, body: Any, said: str) -> None:
    status, reply = post(body)
    assert (status, engine.requests) == (400, [])
    assert said in reply["error"]["message"]


@pytest.mark.parametrize(
    ("length", "status"), [("1000001", 413), ("-1", 411), ("x", 411), ("", 411), ("9" * 400, 413), ("²", 411)]
)
def test_a_body_without_a_fair_length_is_refused(engine: FakeEngine, length: str, status: int) -> None:
    head = request("POST", "/v1/chat/completions", {**LOCAL, "Content-Length": length})
    found = exchange(head + b" " * (http_api.MOST_BYTES if status == 413 else 0), served())
    assert (found[0], engine.requests) == (status, [])


def test_a_chunked_body_is_refused(engine: FakeEngine) -> None:
    assert post(b"{}", None, **{"Transfer-Encoding": "chunked"})[0] == 411


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / x y z\r\n\r\n"]
)
def test_what_is_no_http_is_refused_without_an_echo(
    engine: FakeEngine, sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, body = exchange(sent, served())
    assert status in (400, 505)
    assert b"as this server reads it" in body
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (GrammarError("no rule named 'root'"), 400, "no rule named 'root'"),
        (EngineError("llama.cpp failed on a file at some/place"), 500, "The model failed."),
        (InvalidWeightsError("some/place.gguf is damaged"), 500, "The server failed."),
        (TypeError("some/place"), 500, "The server failed."),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_tells_the_client_what_it_did_and_no_path(
    error: Exception, status: int, said: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeEngine([], error=error))
    found, reply = post({**CHAT, "stream": stream})
    assert (found, reply["error"]["message"]) == (status, said)


def test_a_lone_surrogate_is_read_as_a_question_mark(engine: FakeEngine) -> None:
    status, _ = post(b'{"messages": [{"role": "user", "content": "\\ud800?"}]}')
    assert (status, '"??"' in str(engine.requests[0].prompt)) == (200, True)


def test_a_reply_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeEngine(["x"] * 1000, delay=0.02))
    monkeypatch.setattr(http_api, "MOST_SECONDS", 0.2)
    assert post(CHAT)[0] == 504


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_reply_and_frees_the_model(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, engine := FakeEngine(["x"] * 1000, delay=0.01))
    api = served()
    body = json.dumps({**CHAT, "stream": stream}).encode()
    exchange(request("POST", "/v1/chat/completions", LOCAL, body), api, close=True)
    assert api.free.qsize() == 1
    deadline = time.monotonic() + 5
    while engine.produced and (before := engine.produced) and time.monotonic() < deadline:
        time.sleep(0.05)
        if engine.produced == before:
            break
    assert engine.produced < 500


def test_whoever_finds_no_model_free_is_told_so(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_api, "MOST_SECONDS", 0.1)
    status, reply = post(CHAT, served(models=0))
    assert (status, reply["error"]["message"]) == (503, "The server is busy. Try again later.")


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "_MOST_READING_SECONDS", 0.3)
    ours, theirs = socket.socketpair()
    server: Any = SimpleNamespace(api=served())
    thread = threading.Thread(target=Handler, args=(theirs, ("client", 0), server))
    thread.start()
    start = time.monotonic()
    with ours:
        for byte in _drips(thread):
            try:
                ours.sendall(byte)
            except OSError:
                break
        thread.join(5)
    theirs.close()
    assert not thread.is_alive()
    assert time.monotonic() - start < 4


def _drips(thread: threading.Thread) -> Iterator[bytes]:
    while thread.is_alive():
        time.sleep(0.05)
        yield b"x"
