"""A file of weights is tried in a child process first: llama.cpp ends the process that loads some damaged files.

What is in a header is checked before (`gguf.py`), but llama.cpp has a thousand assertions, and a template can loop for
ever. So a file that this machine has not seen is loaded once in a child, which reads a prompt and writes a token; a
child that dies or hangs is an error here. A file that passed is remembered by its checksum, in the user's cache folder,
for this release of the engine and these settings. The default weights and the adapter that ships are not tried.
"""

import contextlib
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from langchain_divconq.errors import AdapterMismatchError, ContextLengthError, EngineError, InvalidWeightsError
from langchain_divconq.llamacpp.engines.base import NO_NUMBERS, Engine, EngineName, EngineSettings, Request
from langchain_divconq.llamacpp.engines.gguf import check_numbers, read_header
from langchain_divconq.llamacpp.engines.prompt import Prompt

TRUSTED = frozenset({"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"})
"""Checksums of the default weights."""

_PACKAGE = Path(__file__).resolve().parents[2]
_SHIPPED = _PACKAGE / "adapters"
_MARK, _PLAIN = "divconq-trial:", "plain"
_SECONDS, _BYTES_A_SECOND = 30, 50_000_000
_PATIENCE = 20
"""A child on a busy machine waits its turn: by the clock it may take so many times its seconds of computing."""
_PROMPT = "How do I cook rice? " * 12  # more than a batch
_GRAMMAR = 'root ::= [^\\n]+ "\\n"'
# The child has no use for the rest of the library, whose import takes a second.
_CHILD = """import sys, types
sys.path[:] = {path!r}
sys.modules["langchain_divconq"] = types.ModuleType("langchain_divconq")
sys.modules["langchain_divconq"].__path__ = [{package!r}]
sys.modules["langchain_divconq.llamacpp.engines"] = types.ModuleType("langchain_divconq.llamacpp.engines")
sys.modules["langchain_divconq.llamacpp.engines"].__path__ = [{package!r} + "/llamacpp/engines"]
from langchain_divconq.llamacpp.engines.trial import main
main()
"""


class _IllegalInstructionError(EngineError):
    """The child met an instruction that this processor does not have."""


def pass_trial(settings: EngineSettings, name: EngineName, marks: list[str]) -> bool:
    """Load the files in a child process, unless they are known to load.

    A llama-cpp-python that was compiled for AMX is tried with any file: some virtual machines name AMX without having
    it, and there llama.cpp works without its own layouts of the weights.

    `marks` are the checksums of the model and of the adapter, if there is one.

    Returns:
        Whether it loads only without those layouts.

    Raises:
        EngineError: What loading raises here too; or the child died or hung.
    """
    adapter = settings.adapter_path
    amx = name == "llama-cpp-python" and _is_built_for_amx()
    if marks[0] in TRUSTED and (adapter is None or adapter.resolve().parent == _SHIPPED) and not amx:
        return False
    verdict = _verdict_file(settings, name, marks)
    if verdict is not None and verdict.is_file():
        return verdict.read_text(encoding="utf-8") == _PLAIN
    plain = False
    try:
        run_trial(settings, name)
    except _IllegalInstructionError:
        if not amx:
            raise
        run_trial(settings, name, plain=True)
        plain = True
    if verdict is not None:
        with contextlib.suppress(OSError):  # a home that cannot be written to: tried again next time
            verdict.parent.mkdir(parents=True, exist_ok=True)
            verdict.write_text(_PLAIN if plain else "", encoding="utf-8")
    return plain


def _is_built_for_amx() -> bool:
    try:
        return b"AMX_INT8 = 1" in importlib.import_module("llama_cpp").llama_print_system_info()
    except (ImportError, OSError, AttributeError):
        return False


def run_trial(settings: EngineSettings, name: EngineName, *, plain: bool = False) -> None:
    """Try a model in a child process; raise an EngineError as there, or of what the child died or hung."""
    files = [path for path in (settings.model_path, settings.adapter_path) if path is not None]
    limit = round(_SECONDS + sum(path.stat().st_size for path in files) / _BYTES_A_SECOND)
    asked = {"settings": asdict(settings), "engine": name, "plain": plain, "seconds": limit}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD.format(path=sys.path, package=str(_PACKAGE))],
            input=json.dumps(asked, default=str).encode(),
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            capture_output=True,
            timeout=limit * _PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise _endless(files, name, limit * _PATIENCE) from None
    except OSError:  # no child can be started here, so nothing can be tried
        return
    lines = child.stdout.decode(errors="replace").splitlines()
    verdict = next((line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)), None)
    if verdict is None:
        if child.returncode == -getattr(signal, "SIGXCPU", 0):
            raise _endless(files, name, limit)
        raise _death(child, name, files)
    if fault := json.loads(verdict):
        if b"ggml_validate_row_data" in child.stderr:  # said on standard error alone
            raise InvalidWeightsError(
                f"{_named(files)}: the weights hold values that are no numbers (NaN or infinity). Get the file again."
            )
        if fault["message"] == NO_NUMBERS:
            raise InvalidWeightsError(f"{_named(files)}: {NO_NUMBERS}")
        kinds: list[type[EngineError]] = [InvalidWeightsError, AdapterMismatchError]
        kind = next((kind for kind in kinds if kind.__name__ == fault["kind"]), EngineError)
        named = any(str(path) in fault["message"] for path in files)
        raise kind(fault["message"] if named else f"{_named(files)}: {fault['message']}")


def _endless(files: list[Path], name: EngineName, seconds: int) -> InvalidWeightsError:
    return InvalidWeightsError(
        f"{_named(files)} cannot be used with {name}: a trial in a child process did not end in {seconds} seconds. The "
        "file is damaged, or its chat template never ends. Get it again."
    )


def explain_death(code: int, name: str) -> str:
    """Return in words why a child that ran an engine ended without a reply; a code below zero is a signal's."""
    kind = signal.Signals(-code).name if code < 0 and -code in signal.valid_signals() else f"exit code {code}"
    if code == -getattr(signal, "SIGILL", 0) or code == 132:
        remedy = (
            'CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python '
            "llama-cpp-python"
            if name == "llama-cpp-python"
            else "pip install --force-reinstall xllamacpp"
        )
        return (
            f"{kind}: an instruction that this processor does not have. {name} was compiled for another one, or on a "
            f"virtual machine that names AMX without having it. Install it for any processor: {remedy}"
        )
    if code == -getattr(signal, "SIGKILL", 0):
        return f"{kind}: most likely there is not enough memory. Lower n_ctx or n_slots, or take a smaller model"
    return f"{kind}: llama.cpp gave up on the file"


def main() -> None:
    """Be the child: load what standard input says, and tell in one line how it went."""
    asked = json.load(sys.stdin)
    model, adapter = (asked["settings"].pop(key) for key in ("model_path", "adapter_path"))
    settings = EngineSettings(Path(model), adapter and Path(adapter), **asked["settings"])
    _limit_processor_time(asked["seconds"] * settings.n_threads)
    verdict: dict[str, str] | None = None
    try:
        _use(settings, asked["engine"], asked["plain"])
    except EngineError as error:
        verdict = {"kind": type(error).__name__, "message": str(error)}
    sys.stdout.write(f"\n{_MARK}{json.dumps(verdict)}\n")
    sys.stdout.flush()
    os._exit(0)  # how an engine ends is no part of the verdict


def _limit_processor_time(seconds: int) -> None:
    """Have the system end this process once it has computed for so long, all threads together."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def create_engine(
    settings: EngineSettings, name: EngineName, *, plain: bool = False, check_tensors: bool = False
) -> Engine:
    """Load a model into this process.

    `plain`: without llama.cpp's own layouts of the weights, some of which use AMX (llama-cpp-python alone).
    `check_tensors`: every value of the weights is looked at, and those that are no numbers are refused.

    Raises:
        EngineError: llama.cpp does not load it.
    """
    # Imported by name, for each engine's module needs its package.
    module, kind = ("llama_cpp", "LlamaCppEngine") if name == "llama-cpp-python" else ("xllamacpp", "XllamacppEngine")
    make = getattr(importlib.import_module(f"langchain_divconq.llamacpp.engines.{module}"), kind)
    options = {"plain": plain} if name == "llama-cpp-python" else {}
    engine: Engine = make(settings, check_tensors=check_tensors, **options)
    return engine


def _use(settings: EngineSettings, name: EngineName, plain: bool) -> None:
    """Load a model, read a prompt of several batches, write freely and by a grammar."""
    for path in (settings.model_path, settings.adapter_path):
        if path is not None:
            check_numbers(read_header(path))
    engine = create_engine(settings, name, plain=plain, check_tensors=True)
    prompt: Prompt | str = _PROMPT
    with contextlib.suppress(EngineError):  # no template, or one that wants other messages: told where it is used
        prompt = engine.render([{"role": "user", "content": _PROMPT}])
    for request in (Request(prompt, 1, top_logprobs=1), Request(prompt, 4, grammar=_GRAMMAR)):
        with contextlib.suppress(ContextLengthError):
            engine.generate(request, lambda _: False, lambda: False)


def _death(child: "subprocess.CompletedProcess[bytes]", name: EngineName, files: list[Path]) -> EngineError:
    said = child.stderr.decode(errors="replace").strip().splitlines()
    last = next((line.strip() for line in reversed(said) if "ASSERT" in line or "Error" in line), "")
    reason = explain_death(child.returncode, name)
    illegal = child.returncode in (-getattr(signal, "SIGILL", 0), 132)
    kind: type[EngineError] = _IllegalInstructionError if illegal else InvalidWeightsError
    return kind(
        f"{_named(files)} cannot be used with {name}. A trial in a child process ended with {reason}"
        f"{f' ({last[:200]})' if last else ''}. This process goes on."
    )


def _named(files: list[Path]) -> str:
    return " with ".join(map(str, files))


def _verdict_file(settings: EngineSettings, name: EngineName, marks: list[str]) -> Path | None:
    """Return the file whose existence says that these files load; None: there is no place for it."""
    try:
        home = os.environ.get("XDG_CACHE_HOME")
        folder = Path(home) if home else Path.home() / ".cache"
        release = metadata.version("llama_cpp_python" if name == "llama-cpp-python" else name)
    except (RuntimeError, metadata.PackageNotFoundError):
        return None
    about = [name, release, *marks, settings.n_ctx, settings.n_slots, settings.n_gpu_layers]
    return folder / "langchain-divconq" / "loads" / hashlib.sha256(repr(about).encode()).hexdigest()
