"""Every block of the README and every example runs, on the real embedded model.

Where one names a paid provider through `init_chat_model`, the embedded model answers in its place. A block that cannot
run at all has `<!-- not run: REASON -->` on the line above it.
"""

import ast
import asyncio
import inspect
import runpy
import types
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq import ChatGGUF
from tests.repository import EXAMPLES, ROOT, python_blocks


@pytest.fixture(autouse=True)
def _embedded_model_in_place_of_providers(monkeypatch: pytest.MonkeyPatch, gguf_path: Path) -> None:
    def init_chat_model(*_: Any, **__: Any) -> ChatGGUF:
        return ChatGGUF(model_path=gguf_path, max_tokens=64)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)


def test_the_blocks_of_the_readme_run_in_order_in_one_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = python_blocks("README.md")
    monkeypatch.chdir(tmp_path)  # whatever a block writes
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in (block for block in blocks if block.reason is None):
        # A line number that points into the README, for a traceback that does.
        source = "\n" * (block.line - 1) + block.source
        code = compile(source, str(ROOT / block.document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = types.FunctionType(code, namespace)()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    assert capsys.readouterr().out.strip(), "The README shows no result."


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_something(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
