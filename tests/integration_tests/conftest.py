"""Fixtures of more than one test module."""

from collections.abc import Iterator

import pytest

from langchain_divconq.llamacpp.engines import unload_engines


@pytest.fixture(scope="module")
def unloading() -> Iterator[None]:
    """Leave no model in memory once a module is done."""
    yield
    unload_engines()
