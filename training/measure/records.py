"""The records of a measurement, as they may be committed: identifiers, verdicts, extracted answers and numbers.

A folder of results holds settings.json, and for each arm ARM.jsonl with a record a question. Records are added durably
while an arm runs, in the order the questions end; a complete arm's file is in the order they were drawn.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from langchain_divconq.llamacpp.engines import physical_cores
from langchain_divconq.usage import StageUsage
from training.store import Frozen, changes, refuse_changes, save_json

Mode: TypeAlias = Literal["direct", "step_by_step", "fused", "sequential", "parallel", "self_ask"]

JUDGED = ("right", "wrong", "no answer")
"""The reasons of a verdict on a reply. Any other says why there was no reply to judge: such a question can be asked
again."""

_WHY = r"^(right|wrong|no answer|empty reply|not text|refused|timeout|error: \w+)$"
_LONGEST_ANSWER = 120
_LONGEST_RUN = 8  # words
REPEATED = "(repeats what was asked)"
"""Stands for an answer that is a piece of the benchmark's text."""

_FREE = ("n", "prices", "versus")
"""What may change of an arm that has records: more questions may be asked; prices and comparisons come afterwards."""


class Used(Frozen):
    """What one stage used for one question."""

    calls: int = 0
    """Model calls, failed ones included."""
    unmetered_calls: int = 0
    """Those of them whose model reported no token counts; their tokens are missing below."""
    input_tokens: int = 0
    output_tokens: int = 0
    """Prompt tokens, cached ones included, and generated tokens."""
    seconds: float = 0.0
    """Spent waiting for the model, calls added up, divided by the questions that were asked at once."""

    @classmethod
    def of(cls, usage: StageUsage, at_once: int) -> "Used":
        """Return what was used, but for a server's cache; `at_once` questions, this one too, were in flight."""
        known = usage.model_dump(include={*cls.model_fields})
        return cls(**{**known, "seconds": round(usage.seconds / at_once, 3)})

    def __add__(self, other: "Used") -> "Used":
        return Used(**{name: getattr(self, name) + getattr(other, name) for name in Used.model_fields})


class AnswerRecord(Frozen):
    """What became of one question in one arm."""

    id: str
    """The example's."""
    source: str
    """The dataset's, as the config names it."""
    strict: float
    lenient: float
    f1: float | None = None
    """The scores (see training/measure/verdicts.py); f1 is DROP's alone."""
    answer: str | None = None
    """The answer taken from the reply, cut where it is long (see `shortened`); None: there is none."""
    why: str = Field(pattern=_WHY)
    """"right", "wrong" or "no answer" of a reply; else why there was none, which counts as wrong."""
    mode: Mode
    """How the solver was asked: the arm's mode, or a single-stage one where there was no plan."""
    subquestions: int = 0
    """How many the plan had, or in self-ask how many the solver asked itself; 0: single stage."""
    no_decomposition_probability: float | None = None
    """The decomposer's, where it reports one."""
    no_plan: str | None = None
    """Why a decomposer that should have written or recorded a plan has none; None: it has one, or says itself that none
    is needed."""
    decompose: Used = Used()
    solve: Used = Used()
    """What each stage used."""

    @property
    def is_failure(self) -> bool:
        """Whether there was no reply to judge."""
        return self.why not in JUDGED


class RetrievalRecord(Frozen):
    """What a search for one question found, in one arm: the ranks of its gold passages. No text of any dataset."""

    id: str
    """The example's."""
    hops: int
    """How many gold passages there are, one to a hop."""
    found: tuple[int | None, ...]
    """The rank, from 1, of each hop's gold passage among the documents returned; None: it is not there. A smaller
    budget's documents are the first of these, so recall at every budget follows."""
    subquestions: int = 0
    """How many the plan had."""
    read: int = 0
    """How many answers were read from documents: the subquestions that are referred to, where an answer came."""
    read_right: int | None = 0
    """How many of them are the gold answer of the hop they belong to; None: one belongs to no hop."""
    no_plan: str | None = None
    """As in an answer's record."""
    failure: str | None = None
    """Why a model gave no reply, in the words of an answer's record; the search went on without it. None: all were
    answered."""
    decompose: Used = Used()
    solve: Used = Used()
    """What each stage used; the solver reads documents, or rewrites the question."""

    @property
    def is_failure(self) -> bool:
        """Whether a model gave no reply."""
        return self.failure is not None

    def recall(self, budget: int) -> float:
        """Return the share of the gold passages among the first documents, as many as the budget."""
        return sum(rank is not None and rank <= budget for rank in self.found) / self.hops

    def is_complete(self, budget: int) -> bool:
        """Return whether all gold passages are among the first documents."""
        return self.recall(budget) == 1


class Found(Frozen):
    """The documents that an arm returned for one question, by their ids, best first: what answers are read from."""

    id: str
    documents: tuple[str, ...]


def shortened(answer: str | None, *texts: str | None) -> str | None:
    """Return an answer as results may hold it: cut, all of it Unicode, no long run of the words of `texts` in it."""
    if answer is None:
        return None
    words = answer.casefold().split()
    runs = {" ".join(words[at : at + _LONGEST_RUN]) for at in range(len(words) - _LONGEST_RUN + 1)}
    written = [" ".join(text.casefold().split()) for text in texts if text]
    if any(run in text for run in runs for text in written):
        return REPEATED
    answer = answer.encode(errors="replace").decode()  # a model may write half a surrogate pair
    return answer if len(answer) <= _LONGEST_ANSWER else answer[: _LONGEST_ANSWER - 1] + "…"


def save_settings(
    folder: Path, shared: Mapping[str, Any], drawn: Mapping[str, int], arms: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write what arms were measured under into the folder's settings.json, beside what stands there of others.

    An arm whose file of records is gone is forgotten, and so is free to change.

    `shared` holds for all arms; `drawn` is how many questions were drawn of each source. All is in JSON's types.

    Raises:
        ValueError: There are records that were measured under other settings; names each change.
    """
    path = folder / "settings.json"
    before = json.loads(path.read_bytes()) if path.exists() else {}
    known = {arm: found for arm, found in before.get("arms", {}).items() if (folder / f"{arm}.jsonl").exists()}
    found = [*changes({name: before.get(name) for name in shared}, shared)] if known else []
    for arm, settings in arms.items():
        found += [
            change._replace(name=f"{arm}: {change.name}")
            for change in changes(known.get(arm, settings), settings)
            if change.name.partition(".")[0] not in _FREE
        ]
    refuse_changes(
        found, f"The records in {folder}", "delete the arm's file to measure it anew, or give the config another name"
    )
    settings_of_all = {
        **shared,
        "n": {**(before.get("n", {}) if known else {}), **drawn},
        "arms": {**known, **arms},
        "machine": f"{platform.system()} {platform.machine()}, {physical_cores()} cores",
    }
    save_json(path, settings_of_all)
