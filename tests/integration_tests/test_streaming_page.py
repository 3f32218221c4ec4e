"""The example's page in a real browser: plan, hops and answer arrive as they are told by the server."""

import importlib.util
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from langchain_divconq.retrieval import DecomposedRetriever
from tests.library import QUESTIONS, divide, plain, read
from tests.repository import ROOT
from tests.unit_tests.fakes import scripted

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
ASKED = next(question for question in QUESTIONS if len(question.subquestions) == 2)
ANSWER = "<b>Two words</b> of it [1]."


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("streaming_page", ROOT / "examples" / "streaming_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app on a free port for as long as the context lasts."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def looked_at(address: str, profile: Path) -> str:
    """Return the page as the browser has it once the network is silent."""
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    options += ["--virtual-time-budget=20000", "--dump-dom"]
    found = subprocess.run([BROWSER, *options, address], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_the_page_shows_plan_hops_and_answer_in_a_browser(tmp_path: Path) -> None:
    retriever = DecomposedRetriever(
        retriever=plain(4), reader=scripted(read), decomposer=RunnableLambda(divide), k=4, on_trouble="raise"
    )
    chain = RunnablePassthrough.assign(documents=itemgetter("question") | retriever).assign(
        answer=itemgetter("question") | scripted(ANSWER, delay=0.3) | StrOutputParser()
    )
    with served(example().make_app(chain)) as address:
        page = looked_at(f"{address}/?question={quote(ASKED.question)}", tmp_path)
    assert "<title>Answered</title>" in page
    [plan, hops, answer] = [
        re.findall(r"<li>(.*?)</li>", part) or part
        for part in re.findall(r'id="(?:plan|hops|answer)">(.*?)</(?:ol|ul|p)>', page, re.DOTALL)
    ]
    assert plan == ASKED.subquestions
    assert hops[0].startswith(ASKED.question)
    assert hops[1] == f"{ASKED.subquestions[0]} → {ASKED.answers[0]}"
    assert answer == "&lt;b&gt;Two words&lt;/b&gt; of it [1].", "text, never HTML"
