"""Fixtures of more than one test module."""

import io
import sys
from collections.abc import Callable

import pytest

from langchain_divconq.cli import main
from tests.unit_tests.command_line import MODELS, REPLY, Command, Models, Ran
from tests.unit_tests.fake_engine import WORDS, FakeEngine, install
from tests.unit_tests.fakes import PLAN, scripted


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """In the place of every engine."""
    install(monkeypatch, engine := FakeEngine(WORDS))
    return engine


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    """What --solver fake:solver and --decomposer fake:decomposer name; tests put others in."""
    known: Models = {"fake:solver": scripted(REPLY), "fake:decomposer": scripted(PLAN)}
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name, **_: known[name])
    return known


@pytest.fixture
def divconq(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in this process."""
    return lambda *arguments: Ran(main([*map(str, arguments)]), *capsys.readouterr())


@pytest.fixture
def ask(divconq: Command, models: Models) -> Command:
    """`divconq ask` with the scripted models."""
    return lambda *arguments: divconq("ask", *MODELS, *arguments)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))

    return put
