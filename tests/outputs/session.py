"""Runs a document: its blocks of Python in one session, its commands as commands, with the embedded model.

Where a block names a provider's model, the embedded one answers in its place.
"""

import ast
import asyncio
import inspect
import io
import os
import shlex
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from langchain_divconq import ChatGGUF
from tests.outputs.documents import Step, read, steps, without_times
from tests.repository import ROOT

_REPLY_TOKENS = 64
_CLI = (sys.executable, "-m", "langchain_divconq.cli")


def run(document: str, text: str | None = None) -> Iterator[tuple[Step, str]]:
    """Run a document in order, and yield each step with what it printed."""
    with _folder() as folder, _embedded_in_place_of_providers():
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for step in steps(document, text):
            is_python = step.block.language == "python"
            yield step, _python(step, namespace) if is_python else _command(step.source, folder)


def written(document: str) -> str:
    """Return a document with what its steps print in their places; what differs in seconds alone stays as it is."""
    text = read(document)
    found = [(step, printed) for step, printed in run(document, text) if step.shown is not None]
    for step, printed in reversed(found):
        assert step.shown is not None
        if without_times(step.shown) != without_times(printed):
            text = text[: step.begin] + printed.rstrip() + "\n" + text[step.end :]
    return text


@contextmanager
def _folder() -> Iterator[Path]:
    """Work in a folder of its own, from which the examples are seen."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "examples").symlink_to(ROOT / "examples")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


@contextmanager
def _embedded_in_place_of_providers() -> Iterator[None]:
    def init_chat_model(*_: Any, **__: Any) -> ChatGGUF:
        return ChatGGUF(max_tokens=_REPLY_TOKENS)

    with mock.patch("langchain.chat_models.init_chat_model", init_chat_model):
        yield


def _python(step: Step, namespace: dict[str, Any]) -> str:
    block = step.block
    # A line number that points into the document, for a traceback that does.
    source = "\n" * (block.line - 1) + block.source
    code = compile(source, str(ROOT / block.document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with redirect_stdout(io.StringIO()) as printed:
        result = types.FunctionType(code, namespace)()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    return printed.getvalue()


def _command(command: str, folder: Path) -> str:
    """Run a command of a document, by this interpreter and from this tree, and return what it shows."""
    words = shlex.split(command, comments=True)
    arguments: tuple[str, ...]
    if words[0] == "make" and words[1] in ("ask", "decompose") and words[2].startswith("Q="):
        # On a machine where make has set up no more than these need, it is this engine.
        arguments = (*_CLI, words[1], "--engine", "xllamacpp", "--", words[2][2:])
    elif words[0] in ("divconq", ".venv/bin/divconq"):
        arguments = (*_CLI, *words[1:])
    elif words[0] in ("python", ".venv/bin/python"):
        arguments = (sys.executable, *words[1:])
    else:
        raise ValueError(f"{command!r} shows output, and is no command that can be run here.")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return done.stdout
