"""What every folder of tests shares."""

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

_MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp"}
_RESTRICTED = os.environ.get("DIVCONQ_TEST_ENGINE")


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
