"""The hub path, by the hub's own client against a server on this machine that answers as the hub does."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langchain_divconq import InvalidWeightsError, WeightsNotFoundError
from langchain_divconq.llamacpp import weights

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = weights._HubFile(weights.HUB_REPO, weights.DEFAULT_FILE, SHA256, weights.HUB_REVISION)
PATH = f"/{weights.HUB_REPO}/resolve/{weights.HUB_REVISION}/{weights.DEFAULT_FILE}"


class Hub(ThreadingHTTPServer):
    """Serves one file; `cut_after` breaks the first download off after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, asked = self.server, self.headers.get("Range")
        hub.requests.append((self.command, asked))
        if self.path != PATH:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = hub.content[start:]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Repo-Commit", weights.HUB_REVISION)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            cut, hub.cut_after = hub.cut_after, None
            self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_weights_are_downloaded_at_the_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    path = weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == weights.DEFAULT_FILE
    assert weights.HUB_REVISION in path.parts


def test_a_second_look_takes_the_cached_copy_and_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    first = weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path)
    hub.requests.clear()
    assert weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path) == first
    assert hub.requests == []


def test_a_download_that_breaks_off_is_resumed_where_it_stopped(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client resumes from its last whole chunk; its own chunks of 10 MB are larger than this test's file.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.cut_after = 300_000
    path = weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    (_, first), (_, second) = [request for request in hub.requests if request[0] == "GET"]
    assert first is None
    assert second == "bytes=300000-"


def test_a_damaged_download_is_refused_with_both_sums_and_a_second_try_mends_it(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"\x00"
    with pytest.raises(InvalidWeightsError, match=r"Delete .* and try again") as caught:
        weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(hub.content).hexdigest() in str(caught.value)

    hub.content = CONTENT
    damaged = str(caught.value).split("Delete ")[1].removesuffix(" and try again.")
    Path(damaged).unlink()
    assert weights._from_hub(FILE, endpoint=hub.endpoint, cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_file_the_hub_does_not_have_is_a_reason_in_the_error(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIVCONQ_MODEL", raising=False)
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_weights_package")
    real, absent = weights._from_hub, replace(FILE, revision="0" * 40)
    monkeypatch.setattr(weights, "_from_hub", lambda file: real(absent, endpoint=hub.endpoint, cache_dir=tmp_path))
    with pytest.raises(WeightsNotFoundError, match=r"the Hugging Face hub: RemoteEntryNotFoundError: .*404"):
        weights.default_weights()
