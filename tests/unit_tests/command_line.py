"""Models, question files and record files for tests of the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel

from tests.unit_tests.fakes import ScriptedModel

REPLY = "1. 36\n2. 29\nAnswer: 29"
MODELS = ["--solver", "fake:solver", "--decomposer", "fake:decomposer"]
Models = dict[str, BaseChatModel]


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


def write_questions(folder: Path, *questions: dict[str, Any]) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def solver_of(models: Models) -> ScriptedModel:
    model = models["fake:solver"]
    assert isinstance(model, ScriptedModel)
    return model
