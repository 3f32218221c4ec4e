"""A tiny library of ours in the datasets' form, with questions of two and three hops."""

import json
from pathlib import Path
from typing import Any

from training.measure.config import Measurement
from training.measure.corpus import HOTPOTQA_TRAIN, MUSIQUE_TRAIN, QUESTIONS

BRIDGE = "The Long Bridge crosses the river at the town of Lund, below the old mill."
MAYOR = "Ada Holm was the first mayor of Lund."
PAINTER = "Ada Holm was the daughter of Ib Holm, a painter of ships."
LAMP = "The Green Lamp is a lighthouse on the island of Varde."
KEEPER = "The lighthouses of Varde were kept for forty years by Tom Rask."
DECOYS = [
    "A mayor is the head of a town; a bridge has no mayor.",
    "The first mayor of Aby was tall.",
    "The daughter of a painter may paint as well.",
    "Lighthouses need a keeper, and islands need lighthouses.",
]


def hop(question: str, answer: str, evidence: str) -> dict[str, str]:
    return {"question": question, "answer": answer, "evidence": evidence}


TOWN = hop("Which town is the Long Bridge in?", "Lund", BRIDGE)
FIRST = hop("Who was the first mayor of #1?", "Ada Holm", MAYOR)
FATHER = hop("Whose daughter was #2?", "Ib Holm", PAINTER)
ISLAND = hop("On which island is the Green Lamp?", "Varde", LAMP)
LAST = hop("Who kept the lighthouses of #1?", "Tom Rask", KEEPER)
PLANS = {
    "Who was the first mayor of the town that the Long Bridge is in?": [TOWN, FIRST],
    "Whose daughter was the first mayor of the town that the Long Bridge is in?": [TOWN, FIRST, FATHER],
    "Who kept the lighthouses of the island where the Green Lamp is?": [ISLAND, LAST],
}
ROWS: list[dict[str, Any]] = [
    {"question": question, "answer": plan[-1]["answer"], "decomposition": plan} for question, plan in PLANS.items()
]


def library(folder: Path) -> Path:
    """Return a folder of data with the questions, and passages that are no answer to any."""
    files: dict[str, list[dict[str, Any]]] = {
        QUESTIONS: [*ROWS, ROWS[0]],
        MUSIQUE_TRAIN: [{"question": "?", "decomposition": [hop("?", "", f" {BRIDGE}\n"), hop("?", "", DECOYS[0])]}],
        HOTPOTQA_TRAIN: [{"question": "?", "evidence": DECOYS[1:]}],
    }
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(rows))
    return folder


def retrieval(folder: Path, *arms: str, **changes: Any) -> Measurement:
    """Return a measurement over the library, with its results and runs in the folder too."""
    search = {"budgets": [2, 3], "answer_k": 3, "read_k": 2, "data": library(folder / "data")}
    solver = {"model": "openai:some", "concurrency": 2, "options": {"api_key": "hidden", "max_tokens": 9}}
    return Measurement.model_validate(
        {
            "name": "try",
            "questions": [{"name": "musique", "split": "dev"}],
            "search": {**search, **changes.pop("search", {})},
            "arms": arms or ["whole"],
            "decomposers": {"d": {"kind": "model", "model": "openai:some"}},
            "solvers": {"solver": solver},
            "output": folder / "runs",
            "results": folder / "results",
            **changes,
        }
    )
