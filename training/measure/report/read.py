"""Committed results: a folder's settings.json, and a file of records an arm. Nothing is written or mended here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from langchain_divconq.usage import Price
from training.measure.config import ANSWER, NONE, REFERENCE, TUNING
from training.measure.records import AnswerRecord, RetrievalRecord
from training.store import Records

R = TypeVar("R", AnswerRecord, RetrievalRecord)

EVERYDAY = "everyday"
"""The folder of graded everyday questions; `report/everyday.py` reads it."""

_RECORDED = "recorded"


@dataclass(frozen=True)
class Arm(Generic[R]):
    """An arm as it was measured."""

    name: str
    """Names its file."""
    source: str
    """The dataset its questions are from."""
    decomposer: str
    kind: str
    gate: float | Literal["always"]
    """The decomposer's name, its kind as a config has it, and from which probability on it leaves a question whole."""
    solver: str
    model: str
    """The solver's name, and the model it is; "": the arm asks none."""
    mode: str
    """How the solver is asked, or how references are filled."""
    drawn: int
    """How many questions were drawn for it."""
    versus: str | None
    """The arm that it differs from in one thing; None: none is named."""
    decomposer_price: Price | None
    solver_price: Price | None
    """None: unknown."""
    records: tuple[R, ...]
    """Sorted by id, so that nothing depends on the order in which they came."""

    @property
    def is_recorded(self) -> bool:
        """Whether its plans come with the dataset: what they cost to write is unknown."""
        return self.kind == _RECORDED

    @property
    def by_id(self) -> dict[str, R]:
        """The records by id."""
        return {record.id: record for record in self.records}


AnswerArm: TypeAlias = Arm[AnswerRecord]
RetrievalArm: TypeAlias = Arm[RetrievalRecord]


@dataclass(frozen=True)
class Folder:
    """A measurement as it was committed."""

    name: str
    """The config's."""
    kind: str
    """"answers" or "retrieval"."""
    settings: Mapping[str, Any]
    """All of settings.json."""
    answers: tuple[AnswerArm, ...]
    """The arms that answer questions, in the order of the settings."""
    retrievals: tuple[RetrievalArm, ...]
    """The arms that search."""

    @property
    def budgets(self) -> tuple[int, ...]:
        """How many passages may be returned."""
        return tuple(self.settings.get("budgets", (6, 9, 12)))


def load_folders(results: Path) -> list[Folder]:
    """Return the measurements in a folder of results, by name.

    Left out are what served to choose something by, and the everyday questions, whose records are of another kind.

    Raises:
        ValueError: A file is not what it should be; names the file, and the line.
    """
    paths = sorted(results.glob("*/settings.json"))
    return [
        _load_folder(path) for path in paths if not path.parent.name.startswith(TUNING) and path.parent.name != EVERYDAY
    ]


def _load_folder(path: Path) -> Folder:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        name, kind, arms, drawn = settings["name"], settings["kind"], settings["arms"], settings["n"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no settings of a measurement ({type(error).__name__}: {error}). Restore it from version "
            "control, or measure anew."
        ) from None
    if kind not in ("answers", "retrieval"):
        raise ValueError(f'{path} is of the kind {kind!r}; expected "answers" or "retrieval".')
    answers, retrievals = [], []
    for arm, found in arms.items():
        file = path.parent / f"{arm}.jsonl"
        if kind == "answers" or arm.startswith(ANSWER):
            answers.append(_arm(file, AnswerRecord, found, drawn))
        else:
            retrievals.append(_arm(file, RetrievalRecord, found, drawn))
    return Folder(name, kind, settings, tuple(answers), tuple(retrievals))


def _arm(path: Path, record: type[R], settings: Mapping[str, Any], drawn: Mapping[str, int]) -> Arm[R]:
    """Return an arm with its file's records, none where there is no file. A half-written last line is passed over."""
    records = Records(path, record).records
    # What answers from retrieved passages takes its plan from the search.
    decomposer = settings.get("decomposer") or settings.get("retrieval", {}).get("decomposer") or {"name": NONE}
    kind = decomposer.get("kind", _RECORDED if decomposer["name"] == REFERENCE else NONE)
    solver = settings.get("solver") or {"name": "", "model": ""}
    source = settings.get("source", "musique")
    prices = {stage: found and Price.model_validate(found) for stage, found in settings.get("prices", {}).items()}
    return Arm(
        name=path.stem,
        source=source,
        decomposer=decomposer["name"],
        kind=kind,
        gate=decomposer.get("gate", "always"),
        solver=solver["name"],
        model=solver.get("model", ""),
        mode=settings.get("mode", ""),
        drawn=settings.get("n", drawn.get(source, len(records))),
        versus=settings.get("versus"),
        decomposer_price=prices.get("decomposer"),
        solver_price=prices.get("solver"),
        records=tuple(records[name] for name in sorted(records)),
    )
