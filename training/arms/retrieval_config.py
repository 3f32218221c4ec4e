"""What the retrieval measurement is told: a TOML file, checked as a whole before anything is searched."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from training.arms.config import DecomposerOptions, SolverOptions
from training.config import DATA, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Fill: TypeAlias = Literal["unfilled", "oracle", "sequential"]

FILLS: tuple[Fill, ...] = ("unfilled", "oracle", "sequential")
WHOLE = "whole"
REWRITE = "rewrite"
REFERENCE = "reference"
ANSWER = "answer-"

_NAME = r"^[a-z0-9][a-z0-9._]*$"  # no dash: it parts a decomposer from a fill


@dataclass(frozen=True)
class RetrievalArm:
    """What an arm's name says.

    Attributes:
        name: "whole" (the question is searched for as it is), "rewrite" (the solver makes a query of it), or
            DECOMPOSER-FILL; "answer-" before one of these: the solver answers from what that arm found.
        decomposer: "reference" (the dataset's own plans), or one of the config's table; None: there is no plan.
        fill: What takes the place of a reference to an earlier subquestion: nothing, the gold answer of the hop it
            belongs to, or what the solver reads in the documents found for it.
        answered: The retrieval whose documents are answered from; None: this is a retrieval itself.
    """

    name: str
    decomposer: str | None = None
    fill: Fill | None = None
    answered: str | None = None

    @property
    def needs_solver(self) -> bool:
        """Whether a chat model is asked anything but for plans."""
        return self.answered is not None or self.name == REWRITE or self.fill == "sequential"


def parse_arm(name: str) -> RetrievalArm:
    """Return what an arm's name says.

    Raises:
        ValueError: It is no arm's name.
    """
    retrieval = name.removeprefix(ANSWER)
    decomposer, _, fill = retrieval.partition("-")
    known = next((one for one in FILLS if one == fill), None)
    if retrieval not in (WHOLE, REWRITE) and (not decomposer or known is None):
        raise ValueError(
            f'{name!r} is no arm: expected "{WHOLE}", "{REWRITE}" or DECOMPOSER-FILL with a fill of '
            f'{", ".join(FILLS)}, or one of these after "{ANSWER}"'
        )
    if retrieval != name:
        return RetrievalArm(name, answered=retrieval)
    return RetrievalArm(name) if known is None else RetrievalArm(name, decomposer, known)


class RetrievalConfig(BaseModel):
    """One measurement of retrieval.

    Attributes:
        name: Names the folder of results.
        seed: Draws the questions.
        limit: Most questions to search for.
        answer_limit: Most questions to answer, the first of those.
        budgets: How many documents may be returned. A search fills the largest; a smaller one's are its first.
        read_k: Most documents the solver reads for one answer to a subquestion.
        answer_k: The final answer is read from so many of the documents found.
        retriever: "bm25" (words), or "embedding" (vectors of all-MiniLM-L6-v2; see training/arms/search.py).
        arms: What is measured, by names that `parse_arm` explains, in order.
        decomposers: By name; "reference" need not be listed.
        solver: What reads, rewrites and answers.
        data: The folder of datasets.
        output: Where plans, and ids of the documents found, are kept, out of version control.
        results: Where results lie. Relative paths count from the checkout's root.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="retrieval", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 0
    limit: int = Field(default=500, gt=0)
    answer_limit: int = Field(default=150, gt=0)
    budgets: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(6, 9, 12), min_length=1)
    read_k: int = Field(default=4, gt=0)
    answer_k: int = Field(default=9, gt=0)
    retriever: Literal["bm25", "embedding"] = "bm25"
    arms: tuple[str, ...] = Field(min_length=1)
    decomposers: dict[Annotated[str, Field(pattern=_NAME)], DecomposerOptions] = {}
    solver: SolverOptions | None = None
    data: Path = DATA
    output: Path = Path("training/runs")
    results: Path = Path("training/results")

    @field_validator("decomposers")
    @classmethod
    def _write_plans(cls, decomposers: dict[str, DecomposerOptions]) -> dict[str, DecomposerOptions]:
        if REFERENCE in decomposers:
            raise ValueError(f'"{REFERENCE}" stands for the dataset\'s own plans; name the decomposer otherwise')
        for name, options in decomposers.items():
            if options.kind in ("none", "recorded"):
                raise ValueError(f'{name!r} is of the kind "{options.kind}", which writes no plans')
        return decomposers

    @model_validator(mode="after")
    def _fits_together(self) -> RetrievalConfig:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("an arm is named twice")
        for arm in map(parse_arm, self.arms):
            if arm.decomposer not in (None, REFERENCE, *self.decomposers):
                raise ValueError(f"arm {arm.name!r}: there is no decomposer {arm.decomposer!r}")
            if arm.answered is not None and arm.answered not in self.arms:
                raise ValueError(f"arm {arm.name!r} answers from what {arm.answered!r} found, which is no arm here")
            if arm.needs_solver and self.solver is None:
                raise ValueError(f"arm {arm.name!r} needs a solver")
        return self

    @property
    def k(self) -> int:
        """How many documents a search may return."""
        return max(*self.budgets, self.answer_k)

    @property
    def folder(self) -> Path:
        """Where plans and what was found are kept."""
        return ROOT / self.output.expanduser() / self.name

    @property
    def results_folder(self) -> Path:
        """Where records and settings lie."""
        return ROOT / self.results.expanduser() / self.name


def load_retrieval(path: Path) -> RetrievalConfig:
    """Return the measurement in a TOML file.

    Raises:
        ValueError: There is no such file, it is no TOML, a field is unknown or out of range, or the parts do not fit
            together; names each.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no config {path}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    try:
        return RetrievalConfig.model_validate(values)
    except ValidationError as error:
        wrong = "\n".join(f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ValueError(f"{path} cannot be used:\n{wrong}") from None
