"""Loaded models, one of each in a process.

`load_engine` keeps what it loads until `unload_engines` or the end of the process: loading takes a second and the
weights are mapped into memory once, however many objects ask for them. Weights are told apart by what is in the file,
so a model that was trained again under the same name is loaded again.

After a fork the child starts with nothing loaded: llama.cpp's threads do not survive one.
"""

import atexit
import ctypes
import os
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from langchain_divconq.errors import EngineNotInstalledError, GenerationCancelled
from langchain_divconq.llamacpp.engines.base import Engine, EngineName, EngineSettings
from langchain_divconq.llamacpp.engines.gguf import check_adapter, check_model, read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.llamacpp.engines.pump import cancel_all, is_ending
from langchain_divconq.llamacpp.engines.trial import create_engine, pass_trial

__all__ = ["available_engines", "default_threads", "load_engine", "physical_cores", "unload_engines"]

MODULES: dict[EngineName, str] = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp"}
INSTALL: dict[EngineName, str] = {
    "llama-cpp-python": 'pip install "langchain-divconq[llama-cpp-python]" (compiles llama.cpp)',
    "xllamacpp": 'pip install "langchain-divconq[xllamacpp]" (a prebuilt wheel)',
}

_engines: dict[tuple[EngineName, str, str, EngineSettings], Engine] = {}
_abandoned: list[Engine] = []
_lock = threading.Lock()


def load_engine(settings: EngineSettings, name: EngineName | None = None) -> Engine:
    """Return the engine for these settings, loading it where nobody has yet.

    Without a name it is llama-cpp-python where that is installed, else xllamacpp.

    Raises:
        EngineNotInstalledError: Neither engine is installed, or not the one asked for.
        WeightsNotFoundError: There is no such file.
        InvalidWeightsError: The model is no GGUF, or damaged.
        AdapterMismatchError: The adapter was made for another model.
        EngineError: llama.cpp fails to load it.
    """
    chosen = _choose(name)
    paths = [path for path in (settings.model_path, settings.adapter_path) if path is not None]
    marks = [fingerprint(path) for path in paths]
    key = (chosen, marks[0], "".join(marks[1:]), replace(settings, model_path=Path(), adapter_path=None))
    if is_ending():
        raise GenerationCancelled("The process is ending; no model is loaded any more.")
    with _lock:
        if key not in _engines:
            headers = [read_header(path) for path in paths]
            check_model(headers[0])
            if len(headers) > 1:
                check_adapter(*headers)
            plain = pass_trial(settings, chosen, marks)
            _engines[key] = create_engine(settings, chosen, plain=plain)
        return _engines[key]


def unload_engines() -> None:
    """Free every loaded model. Waits for generations under way; the next `load_engine` loads anew."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()


def available_engines() -> list[EngineName]:
    """Return the engines whose package is installed, the preferred one first."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def default_threads() -> int:
    """Return how many threads to run a model on where nobody says: one core is left to the rest of the machine.

    llama.cpp's threads wait for one another by spinning, many times a token. One that shares its core with another
    program holds up all of them: measured with two threads on two cores and one other busy process, a token took up to
    3 seconds instead of 9 ms; with one thread it took 12 ms, with and without the other process.
    """
    return max(1, physical_cores() - 1)


def physical_cores() -> int:
    """Return how many cores this process may use; a core that runs two threads counts once.

    llama.cpp gains nothing from the second thread of a core. Linux tells by /sys; elsewhere every thread counts.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def _choose(name: EngineName | None) -> EngineName:
    installed = available_engines()
    if name is not None and name not in MODULES:
        raise EngineNotInstalledError(f"There is no engine {name!r}; there are {', '.join(MODULES)}.")
    if name in installed:
        return name
    if name is None and installed:
        return installed[0]
    wanted = list(INSTALL) if name is None else [name]
    raise EngineNotInstalledError(
        f"{name or 'No llama.cpp engine'} is {'not ' if name else ''}installed. Install it with "
        f"{' or '.join(INSTALL[each] for each in wanted)}. Installed: {', '.join(installed) or 'neither engine'}."
    )


def _at_exit() -> None:
    cancel_all()  # or closing would wait for replies that nobody reads any more
    unload_engines()


def _leave_without_cpp() -> None:
    """Have this forked child end once Python has ended, before C++ waits for a thread of xllamacpp's log."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc: the function gets the exit status
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    # Kept beyond the interpreter's own end, for freeing them would wait for threads that are not there.
    for engine in _engines.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    if _engines:
        _leave_without_cpp()
    _abandoned.extend(_engines.values())
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_at_exit)
