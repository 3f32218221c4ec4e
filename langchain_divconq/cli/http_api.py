"""The decomposer over HTTP: three OpenAI-compatible endpoints, and nothing that a request could change.

    GET  /health                    whether it is there
    GET  /v1/models                 the model's name
    POST /v1/chat/completions       a reply, whole or as a stream

Everything else is refused: other paths and methods, what a page in a browser sends (it carries an Origin), names of
this machine that are not its own (DNS rebinding), bodies that are not JSON or too large. No reply shows a path, nothing
that a client sent is printed (but by llama.cpp a grammar whose nested repetitions it refuses), and each request has a
bound in size, in time and in what it may ask of a grammar.
"""

import hmac
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler
from queue import Empty, SimpleQueue
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_divconq.cli.openai_body import Asked, Refusal, as_refusal, read_body, usage
from langchain_divconq.errors import GenerationCancelled
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.pump import iterate

MOST_BYTES = 1_000_000
MOST_SECONDS = 120.0
"""For a reply, waiting for its turn included."""
_MOST_READING_SECONDS = 30.0
_MOST_CONNECTIONS = 64
_METHODS = {"/health": "GET", "/v1/models": "GET", "/v1/chat/completions": "POST"}
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


class Api:
    """What is served, and to whom.

    Of `models`, one serves each request that is decoded at once. Without a key, clients must call this machine by a
    name of loopback.
    """

    def __init__(self, models: list[ChatGGUF], name: str, key: str | None) -> None:
        self.name, self.key = name, key
        self.free: SimpleQueue[ChatGGUF] = SimpleQueue()
        for model in models:
            self.free.put(model)
        self.connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def check_sender(self, headers: Message) -> None:
        """Raise a Refusal of a page in a browser, and without a key of whoever calls this machine by a foreign name."""
        if headers.get("Origin") is not None or headers.get("Sec-Fetch-Site", "none") != "none":
            raise Refusal(403, "Pages in a browser may not use this server.")
        if self.key is None and not _LOOPBACK.fullmatch(headers.get("Host", "")):
            raise Refusal(403, "Without a key this server is called by 127.0.0.1 or localhost alone.")

    def check_key(self, headers: Message) -> None:
        """Raise a Refusal of whoever does not send the key."""
        sent = headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self.key is not None and not hmac.compare_digest(sent.encode(), self.key.encode()):
            raise Refusal(401, "Invalid API Key", "invalid_api_key")

    @contextmanager
    def model(self, is_gone: Callable[[], bool]) -> Iterator[ChatGGUF]:
        """Hold one of the models once one is free; a Refusal where none was in time, or where the client has gone."""
        deadline = time.monotonic() + MOST_SECONDS
        while True:
            with suppress(Empty):
                model = self.free.get(timeout=0.1)
                break
            if is_gone() or time.monotonic() > deadline:
                raise Refusal(503, "The server is busy. Try again later.")
        try:
            yield model
        finally:
            self.free.put(model)


class Handler(BaseHTTPRequestHandler):
    """One request on one connection, which is closed after it."""

    server: "Server"
    protocol_version = "HTTP/1.0"
    server_version, sys_version = "divconq", ""
    timeout = _MOST_READING_SECONDS

    def handle_one_request(self) -> None:
        """Answer, whatever comes; a client that is slow or gone ends its connection and nothing else."""
        self._started = self._read = False
        # Each read has a timeout; a client that sends a byte now and then is cut off by this one.
        watch = self._watch = threading.Timer(_MOST_READING_SECONDS, self._cut_off)
        watch.daemon = True
        watch.start()
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # the connection is gone, or was cut off
            self.close_connection = True
        finally:
            watch.cancel()

    def __getattr__(self, name: str) -> Any:
        # Whatever the method, the answer is ours: the base class would show its own page.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: what clients send is not to be printed."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no HTTP."""
        self._refuse(Refusal(code, "The request is not HTTP as this server reads it."))

    def _answer(self) -> None:
        api = self.server.api
        try:
            path = self.path.partition("?")[0]
            api.check_sender(self.headers)
            if path not in _METHODS:
                raise Refusal(404, "There is nothing here.")
            if self.command != _METHODS[path]:
                raise Refusal(405, f"This takes {_METHODS[path]}.")
            if path == "/health":
                self._send(200, {"status": "ok"})
                return
            api.check_key(self.headers)
            if path == "/v1/models":
                self._send(
                    200, {"object": "list", "data": [{"id": api.name, "object": "model", "owned_by": "divconq"}]}
                )
                return
            asked = read_body(self._body())
            self._watch.cancel()
            with api.model(self._is_gone) as model:
                (self._stream if asked.stream else self._complete)(model, asked)
        except GenerationCancelled:
            self.close_connection = True
        except OSError:
            raise
        except Exception as error:  # whatever it is, it is this request's alone
            self._refuse(as_refusal(error))

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json" or "Content-Type" not in self.headers:
            raise Refusal(415, "The body must be JSON, with the content type application/json.")
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refusal(411, "The request must give its Content-Length.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(411, "The request must give its Content-Length.")
        if int(length) > MOST_BYTES:
            raise Refusal(413, f"The body has {int(length):,} bytes; this server takes {MOST_BYTES:,}.")
        self._read = True
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refusal(400, "The body is shorter than its Content-Length says.")
        return data

    def _drain(self) -> None:
        """Read what a refused client still sends: else closing the connection could take the refusal with it."""
        length = str(getattr(self, "headers", None) and self.headers.get("Content-Length"))
        if not self._read and length.isascii() and length.isdigit():
            self._read = True
            self.rfile.read(min(int(length), MOST_BYTES))

    def _complete(self, model: ChatGGUF, asked: Asked) -> None:
        result = model._call(asked.messages, asked.stop, asked.options).collect(self._is_gone)
        message = result.generations[0].message
        choice = _choice(message, {"message": {"role": "assistant", "content": message.text}})
        self._send(200, {**self._frame("chat.completion"), "choices": [choice], "usage": usage(message)})

    def _stream(self, model: ChatGGUF, asked: Asked) -> None:
        call = model._call(asked.messages, asked.stop, asked.options)
        frame = self._frame("chat.completion.chunk")

        def work(emit: Callable[[Any], None], is_cancelled: Callable[[], bool]) -> None:
            call.run(emit, lambda: is_cancelled() or self._is_gone())

        # Written by this thread, decoded in another: a client that reads slowly does not hold the model.
        with closing(iterate(work)) as parts:
            for part in parts:
                message = call.chunk(part).message
                is_last = "finish_reason" in message.response_metadata
                delta = {} if is_last else {"role": "assistant", "content": message.text}
                self._send_event({**frame, "choices": [_choice(message, {"delta": delta})]})
                if is_last and asked.usage_in_stream:
                    self._send_event({**frame, "choices": [], "usage": usage(message)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _frame(self, kind: str) -> dict[str, Any]:
        now = time.time_ns()
        return {"id": f"chatcmpl-{now:x}", "object": kind, "created": now // 10**9, "model": self.server.api.name}

    def _send_event(self, event: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._send_head(200, "text/event-stream")
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _refuse(self, refusal: Refusal) -> None:
        self._drain()
        error = {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": refusal.code}
        if self._started:  # in the middle of a stream
            self._send_event({"error": error})
        else:
            self._send(refusal.status, {"error": error})

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self._send_head(status, "application/json", len(data))
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(data)

    def _send_head(self, status: int, kind: str, length: int | None = None) -> None:
        self.close_connection = True
        self.request_version = self.protocol_version  # HTTP/0.9 would get no head
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()

    def _is_gone(self) -> bool:
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def _cut_off(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _choice(message: BaseMessage, said: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: message.response_metadata.get(name) for name in ("finish_reason", "logprobs")}
    return {"index": 0, **said, **told}


class Server(ThreadingMixIn, TCPServer):
    """Listens; a thread for each connection, and a bound on their number."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: Any, family: socket.AddressFamily, api: Api) -> None:
        self.api = api
        self.address_family = family
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless too many are being answered."""
        if not self.api.connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.api.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that failed: what clients send is not to be printed."""
