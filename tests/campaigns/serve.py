"""Hostile requests to `divconq serve`, half without its key and half with it.

Whatever comes, the server answers or closes the connection, stays alive, and gives one question the plan it gave
before: without the key nothing but /health is answered with 200, nor what a page in a browser sends.
"""

import json
import random
import socket
from typing import Any
from urllib.parse import urlsplit

from langchain_divconq.decomposer import Decomposer
from tests.benchmarks.serve import KEY, connect, outcome, serving
from tests.campaigns.report import Report

_QUESTION = "Who was born first, the author of Emma or the author of Middlemarch?"
_PATHS = (
    "/v1/chat/completions",
    "/v1/models",
    "/health",
    "/lora-adapters",
    "/props",
    "/slots/0?action=erase",
    "/",
    "//",
    "*",
)
_METHODS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "X" * 300)
_TYPES = (
    "application/json",
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "",
    "application/json\x00",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**40,
    1e308,
    "",
    "x" * 3000,
    [],
    {},
    [[]],
    "\ud800",
    "<|im_end|>",
    float("nan"),
)
_FIELDS = (
    "messages", "model", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "stream", "stream_options",
    "grammar", "response_format", "logprobs", "top_logprobs", "n", "tools", "lora", "cache_prompt", "id_slot",
    "max_completion_tokens",
)  # fmt: skip
_GRAMMARS = (
    "root ::= ",
    'root ::= "a"*',
    "root ::= root",
    'root ::= (("a"{0,2000}){0,2000}){0,2000}',
    "x",
    "root ::= [" * 90,
)


def run(count: int, seed: int) -> Report:
    report = Report()
    with serving() as printed:
        address = urlsplit(printed.split()[0])
        decomposer = connect(printed, max_subquestions=1)
        before = outcome(decomposer.invoke(_QUESTION))
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            has_key = number % 2 == 1
            sent, fair = _request(chance, has_key)
            answer = _exchange((address.hostname or "", address.port or 0), sent)
            _judge(report, number, sent, answer, allowed=fair)
            if number % 100 == 99:
                _check_plan(report, number, decomposer, before)
    return report


def _judge(report: Report, number: int, sent: bytes, answer: bytes, *, allowed: bool) -> None:
    given = repr(sent[:300])
    if answer == b"hung":
        report.failed(number, given, "no answer in 150 seconds", outcome="hung")
        return
    status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "closed"
    if b".gguf" in answer or b"Traceback" in answer or KEY.encode() in answer:
        report.failed(number, given, f"the answer shows what it should not: {answer[-300:]!r}", outcome="shows")
    elif status == "200" and not allowed:
        report.failed(number, given, "answered with 200", outcome="answered")
    elif status == "500":
        report.failed(number, given, f"failed: {answer[-300:]!r}", outcome="failed")
    else:
        report.passed(status)


def _check_plan(report: Report, number: int, decomposer: Decomposer, before: dict[str, Any]) -> None:
    try:
        after = outcome(decomposer.invoke(_QUESTION))
    except Exception as error:  # whatever a client raises of a server that has gone
        report.failed(number, "a plan", f"{type(error).__name__}: {error}", outcome="no plan")
        return
    if after != before:
        report.failed(number, "a plan", f"another plan than before: {after}", outcome="another plan")


def _request(chance: random.Random, has_key: bool) -> tuple[bytes, bool]:
    """Return the bytes of a request, and whether it may be answered with 200."""
    method, path, kind = chance.choice(_METHODS), chance.choice(_PATHS[:3] * 3 + _PATHS), chance.choice(_TYPES)
    host = chance.choice(("127.0.0.1", "127.0.0.1", "localhost", "evil.example", ""))
    headers = [f"Host: {host}", f"Content-Type: {kind}"]
    foreign = chance.random() < 0.2
    headers += ["Origin: http://evil.example"] if foreign else []
    headers.append(f"Authorization: Bearer {KEY if has_key else chance.choice(('', 'none', KEY[:-1], KEY + 'x'))}")
    body = _body(chance)
    length = (
        str(len(body)) if chance.random() < 0.9 else chance.choice(("-1", "x", "0", "99999999", str(len(body) + 5)))
    )
    headers += [f"Content-Length: {length}"] if method != "GET" else []
    headers += ["Transfer-Encoding: chunked"] if chance.random() < 0.05 else []
    sent = "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode() + (body if method != "GET" else b"")
    if chance.random() < 0.1:
        changed = bytearray(sent)
        for _ in range(8):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        sent = bytes(changed)
    return sent, not foreign and (has_key or b"/health" in sent[:20])


def _body(chance: random.Random) -> bytes:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 2}
    for field in chance.sample(_FIELDS, chance.choice((0, 1, 1, 2, 4))):
        body[field] = chance.choice(_VALUES if field != "grammar" else _GRAMMARS)
    if isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 4:
        body["max_tokens"] = 4  # what is long is not what is tried here
    raw = json.dumps(body).encode()
    return chance.choice((raw, raw, raw, raw[:-2], b"[" * 5000, b"\xff" + raw, b"", raw + b"x"))


def _exchange(address: tuple[str, int], sent: bytes) -> bytes:
    try:
        with socket.create_connection(address, timeout=150) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR) if sent.endswith(b"\r\n\r\n") else None
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except TimeoutError:
        return b"hung"
    except OSError:
        return b""  # the server closed the connection
