"""Fixtures of more than one test module."""

import io
import sys
from collections.abc import Callable

import pytest
from langchain_core.language_models import BaseChatModel

from tests.unit_tests.command_line import REPLY
from tests.unit_tests.fakes import PLAN, scripted


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseChatModel]:
    """What --solver fake:solver and --decomposer fake:decomposer name; tests put others in."""
    known: dict[str, BaseChatModel] = {"fake:solver": scripted(REPLY), "fake:decomposer": scripted(PLAN)}
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name, **_: known[name])
    return known


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))

    return put
