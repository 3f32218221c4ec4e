"""A measurement of a few questions of ours, with scripted models in place of those it names."""

import json
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from tests.unit_tests.fakes import ScriptedModel, scripted
from training.measure.config import Measurement
from training.measure.records import AnswerRecord
from training.measure.report.read import R
from training.store import Records

ROWS = [
    {
        "id": f"q{number}",
        "question": f"Mia has {number} boxes of 12 pens and gives away 7. How many pens are left?",
        "answers": [str(12 * number - 7)],
        "subquestions": [f"How many pens are in {number} boxes of 12?", "How many of #1 are left if 7 are given away?"],
    }
    for number in range(1, 9)
]


def measurement(folder: Path, **changes: Any) -> Measurement:
    """Return one whose questions, arms and records lie in a folder."""
    questions = folder / "questions.jsonl"
    if not questions.exists():
        questions.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return Measurement.model_validate(
        {
            "name": "try",
            "questions": [{"name": "jsonl", "split": "dev", "path": questions}],
            "solvers": {"s": {"model": "openai:some", "concurrency": 1, "price": {"input": 1, "output": 2}}},
            "decomposers": {
                "d": {"kind": "model", "model": "openai:some"},
                "r": {"kind": "recorded", "source": "jsonl"},
            },
            "arms": [{"name": "a", "decomposer": "d", "solver": "s", "mode": "fused"}],
            "output": folder / "runs",
            "results": folder / "results",
            **changes,
        }
    )


def boxes(messages: list[BaseMessage]) -> int:
    """Return the number that a prompt's question turns on."""
    return int(messages[-1].text.split(" boxes")[0].split()[-1])


def plan(messages: list[BaseMessage]) -> str:
    """Decompose as a model would."""
    return f"1. How many pens are in {boxes(messages)} boxes of 12?\n2. How many of #1 are left after 7 are given away?"


def solve(messages: list[BaseMessage]) -> str:
    """Answer the first six questions right."""
    number = boxes(messages)
    return f"Let me see.\nAnswer: {12 * number - 7 if number < 7 else 0}"


def models(**changes: ScriptedModel) -> dict[str, ScriptedModel]:
    """Return the models of a measurement, by name."""
    return {"s": scripted(solve), "d": scripted(plan), **changes}


def records(config: Measurement, arm: str = "a") -> dict[str, AnswerRecord]:
    """Return an arm's records by the row's own id, in the file's order, without what depends on the clock."""
    file = Records(config.results_folder / f"{arm}.jsonl", AnswerRecord)
    return {name.rsplit("/", 1)[1]: timeless(record) for name, record in file.records.items()}


def timeless(record: R) -> R:
    """Return a record without the seconds."""
    still = {stage: getattr(record, stage).model_copy(update={"seconds": 0.0}) for stage in ("decompose", "solve")}
    return record.model_copy(update=still)
