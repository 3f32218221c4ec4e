"""Fixtures and options for every folder of tests."""

import importlib.util
import os
import signal
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings

from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.weights import default_weights

# A job that a script starts in the background ignores Ctrl-C, and so would every test and its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine stalls now and then: no deadline, whatever else the profile in force says.
settings.register_profile("divconq", settings(), deadline=None)
settings.load_profile("divconq")

# Files of minutes: begun last, one of them would keep one worker busy long after the others are done.
_LONG = ("test_smoke.py", "test_documentation.py", "test_serve.py", "test_engines.py", "test_concurrency.py")
_MOST_WORKERS = 4  # each loads models of its own

_MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp"}
_RESTRICTED = os.environ.get("DIVCONQ_TEST_ENGINE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker a core, up to four; none but this process where there is one core, or cores cannot be shared out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(cores, _MOST_WORKERS) if cores > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker, and the processes it starts, cores of its own.

    llama.cpp runs on all cores but one, and its threads wait for one another by spinning: two workers on the same cores
    would hold each other up. Of two cores it takes one as it is.
    """
    worker = getattr(config, "workerinput", None)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if worker is not None and len(cores) > 2:
        number = int(worker["workerid"].removeprefix("gw")) % worker["workercount"]  # one that died has a successor
        os.sched_setaffinity(0, cores[number :: worker["workercount"]])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(scope="session", params=[_RESTRICTED] if _RESTRICTED else get_args(EngineName))
def engine_name(request: pytest.FixtureRequest) -> EngineName:
    """Each engine in turn. One that is missing fails its tests: a green run has seen both."""
    name: EngineName = request.param
    if importlib.util.find_spec(_MODULES[name]) is None:
        pytest.fail(
            f"{name} is not installed. `make test` installs both engines; DIVCONQ_TEST_ENGINE=NAME tests one alone."
        )
    return name


@pytest.fixture(scope="session")
def gguf_path() -> Path:
    """The default weights: a real model."""
    return default_weights()
