"""The config of a measurement: a TOML file, checked as a whole before a model runs. Every field is explained here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, field_validator, model_validator

from langchain_divconq.llamacpp.weights import Size
from langchain_divconq.prompts import PromptStyle
from langchain_divconq.types import MAX_SUBQUESTIONS
from langchain_divconq.usage import Price
from training.config import DATA, ROOT, Source, SourceName
from training.measure.records import Mode
from training.store import Frozen

Kind: TypeAlias = Literal["none", "shipped", "untuned", "gguf", "recorded", "model"]
Fill: TypeAlias = Literal[
    "unfilled", "phrased", "oracle", "sequential", "candidates", "unfilled.rrf", "oracle.rrf", "sequential.rrf"
]
Rival: TypeAlias = Literal["rewrite", "multiquery", "ircot", "agent"]

TUNING = "tuning-"
"""Begins the name of what was measured to choose something by, on rows that nothing is reported of."""

NONE = "none"
"""The decomposer of an arm without plans; it need not be listed."""

REFERENCE = "reference"
"""The decomposer of an arm that searches by the dataset's own plans; it need not be listed."""

WHOLE, ANSWER = "whole", "answer-"
REWRITE, MULTIQUERY, IRCOT, AGENT = get_args(Rival)

_Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
_SINGLE_STAGE = ("direct", "step_by_step", "self_ask")
_NEEDS: dict[Kind, tuple[str, ...]] = {"gguf": ("adapter",), "recorded": ("source",), "model": ("model",)}


class SolverOptions(Frozen):
    """A chat model that answers, reads or rewrites."""

    model: str
    """As `load_teacher` takes it: "gguf:PATH", "gguf:bundled" (the library's default weights), or a chat model's name
    ("openai:gpt-5-mini")."""
    adapter: Path | None = None
    """A LoRA adapter for a GGUF: a student that solves."""
    options: dict[str, Any] = Field(default={})
    """Keyword arguments of the chat model: base_url, api_key, max_tokens, temperature, timeout, max_retries …"""
    price: Price | None = None
    """In dollars per million tokens, `input` and `output`; None: unknown."""
    concurrency: int = Field(default=4, ge=1)
    """Most questions at once."""

    @model_validator(mode="after")
    def _adapter_needs_gguf(self) -> "SolverOptions":
        if self.adapter is not None and not self.model.startswith("gguf:"):
            raise ValueError(f'adapter needs a model "gguf:PATH" or "gguf:bundled", and this is {self.model!r}')
        return self


class DecomposerOptions(Frozen):
    """What writes an arm's plans, or where they are recorded."""

    kind: Kind
    """"none" (no plans), "shipped" (the library's own), "untuned" (the same weights without an adapter), "gguf" (the
    default weights with another `adapter`), "recorded" (what the dataset `source` records), "model" (the chat model
    named by `model`, asked in words)."""
    size: Size = "small"
    """Which of the default weights: "small" or "medium"."""
    adapter: Path | None = None
    source: SourceName | None = None
    model: str | None = None
    options: dict[str, Any] = Field(default={})
    """Keyword arguments of the chat model, for the kind "model"."""
    max_subquestions: int = Field(default=3, ge=1, le=MAX_SUBQUESTIONS)
    """The cap; 9 is as good as none."""
    prompt_style: PromptStyle | None = None
    """How the model is asked; None: as the library does."""
    num_beams: int = Field(default=1, ge=1, le=16)
    """How many beginnings of a plan are followed side by side."""
    gate: Literal["always"] | Annotated[float, Field(ge=0, le=1)] = 0.75
    """"always" divides every question. From this probability on that nothing need be divided, a question is left whole;
    1 divides every question too, but lets the model say how likely it holds that."""
    price: Price | None = None
    """In dollars per million tokens; None: unknown."""
    concurrency: int = Field(default=1, ge=1)
    """Most questions at once."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "DecomposerOptions":
        for name in ("adapter", "source", "model"):
            needed = name in _NEEDS.get(self.kind, ())
            if needed and getattr(self, name) is None:
                raise ValueError(f'the kind "{self.kind}" needs {name}')
            if not needed and getattr(self, name) is not None:
                raise ValueError(f'the kind "{self.kind}" takes no {name}')
        if self.options and self.kind != "model":
            raise ValueError(f'the kind "{self.kind}" takes no options: it always runs as the library ships it')
        return self


class Search(Frozen):
    """How a measurement of retrieval searches."""

    budgets: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(6, 9, 12), min_length=1)
    """How many passages may be returned. A search fills the largest; a smaller one's are its first."""
    retriever: Literal["bm25", "embedding", "both"] = "bm25"
    """"bm25" (words), "embedding" (vectors of all-MiniLM-L6-v2), or "both" (LangChain's EnsembleRetriever of them)."""
    read_k: int = Field(default=4, gt=0)
    """Most passages the solver reads for one answer to a subquestion."""
    answer_k: int = Field(default=9, gt=0)
    """A final answer is read from so many of the passages found."""
    answer_limit: int = Field(default=150, gt=0)
    """Most questions to answer from what was found, the first that the seed draws."""
    data: Path = DATA
    """The folder of datasets."""
    published: Path | None = None
    """A file of questions in MuSiQue's, HotpotQA's or 2WikiMultihopQA's own form, below `data`, whose distractors are
    searched too; None: MuSiQue's dev questions over the evidence paragraphs of MuSiQue and HotpotQA."""
    left_out: Path | None = None
    """A file of questions, below `data`, on which something was chosen: of `published`, those are not asked."""

    @property
    def k(self) -> int:
        """How many passages a search returns."""
        return max(*self.budgets, self.answer_k)


class Arm(Frozen):
    """One way to answer the questions, or to search for them.

    A measurement that searches names its arms instead: "whole" (the question is searched for as it is), a rival of
    training/measure/rivals.py ("rewrite", "multiquery", "ircot", "agent": the solver makes the queries), or
    DECOMPOSER-FILL, where the fill says what takes the place of a reference to an earlier subquestion: "unfilled" (the
    title of the best passage found for it, or else its words), "phrased" (its words, title or not), "oracle" (the gold
    answer of its hop), "sequential" (what the solver reads in the passages found for it), "candidates" (the same, two
    where the solver names two). ".rrf" behind a fill: fused by reciprocal ranks. "answer-" before one of these: the
    solver answers from what that arm found.
    """

    name: _Name
    """Names the file of its records."""
    decomposer: str = NONE
    """From the table of decomposers; "none" for the single-stage modes and "self_ask"."""
    solver: str | None = None
    """From the table of solvers."""
    mode: Mode | Fill | Rival | Literal["whole"]
    """How the solver is asked: "direct" or "step_by_step" (single stage), "fused", "sequential" or "parallel" (through
    subquestions), or "self_ask" (it asks itself one subquestion after another); of an arm that searches, what its name
    says."""
    limit: int | None = Field(default=None, gt=0)
    """Most questions, the first that the seed draws, so that a smaller arm's are among a larger one's; None: all."""
    versus: str | None = None
    """Another arm, which differs in one thing: the report shows what that makes of the score."""
    found_by: str | None = None
    """The arm whose passages are answered from; None: nothing was searched for."""


class Measurement(Frozen):
    """One measurement: arms, and the questions they are asked."""

    name: _Name
    """Names the folder of results."""
    seed: int = 0
    """Draws the questions."""
    tuning: bool = False
    """Whether something is chosen by it: then it asks train or dev questions alone, and its name begins with "tuning-".
    Any other asks dev or test questions."""
    questions: tuple[Source]
    """Where questions come from: one source."""
    search: Search | None = None
    """How passages are searched for; None: questions are answered as they are."""
    solvers: dict[_Name, SolverOptions] = Field(default={})
    decomposers: dict[_Name, DecomposerOptions] = Field(default={}, validate_default=True)
    arms: tuple[Arm, ...] = Field(min_length=1)
    """What is measured."""
    output: Path = Path("training/runs")
    """Where what the models wrote is kept, out of version control."""
    results: Path = Path("training/results")
    """Where results lie. Relative paths count from the checkout's root."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, values: Any) -> Any:
        """Put "tuning-" before the name of a tuning, and arms in the place of their names where there is a search."""
        if not isinstance(values, dict):
            return values
        if values.get("tuning") is True and isinstance(values.get("name"), str):
            values = {**values, "name": TUNING + values["name"].removeprefix(TUNING)}
        if values.get("search") is not None:
            solver = next(iter(values.get("solvers", ())), None)
            arms = [_searching_arm(arm, solver, values["search"]) for arm in values.get("arms", ())]
            values = {**values, "arms": arms}
        return values

    @field_validator("decomposers")
    @classmethod
    def _add_none(cls, decomposers: dict[str, DecomposerOptions]) -> dict[str, DecomposerOptions]:
        return {NONE: DecomposerOptions(kind="none"), **decomposers}

    @model_validator(mode="after")
    def _fits_together(self) -> "Measurement":
        problems = [*self._problems()]
        find = self._arm_problems if self.search is None else self._search_problems
        problems += [f"arm {arm.name!r}: {problem}" for arm in self.arms for problem in find(arm)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def folder(self) -> Path:
        """Where what the models wrote is kept."""
        return ROOT / self.output.expanduser() / self.name

    @property
    def results_folder(self) -> Path:
        """Where the records and settings lie."""
        return ROOT / self.results.expanduser() / self.name

    @property
    def source(self) -> Source:
        """Where the questions come from."""
        return self.questions[0]

    def limit_of(self, arm: Arm) -> int | None:
        """Return the most questions an arm asks; None: all."""
        return min((limit for limit in (self.source.limit, arm.limit) if limit is not None), default=None)

    def decomposer_of(self, arm: Arm) -> DecomposerOptions:
        """Return what writes an arm's plans, or where they are recorded."""
        if self.search is not None and arm.decomposer == REFERENCE:
            return DecomposerOptions(kind="recorded", source=self.source.name, max_subquestions=MAX_SUBQUESTIONS)
        return self.decomposers[arm.decomposer]

    def arm(self, name: str) -> Arm:
        """Return the arm of a name."""
        return next(arm for arm in self.arms if arm.name == name)

    def _problems(self) -> Iterable[str]:
        refused = "test" if self.tuning else "train"
        mends = "ask train or dev" if self.tuning else "ask dev or test, or set tuning = true to choose something by it"
        if self.source.split == refused:
            yield f"{self.source.name} asks {refused} questions, and tuning is {str(self.tuning).lower()}: {mends}"
        names = [arm.name for arm in self.arms]
        if repeated := [name for name in names if names.count(name) > 1]:
            yield f"two arms are named {repeated[0]!r}"

    def _arm_problems(self, arm: Arm) -> Iterable[str]:
        if arm.mode not in get_args(Mode):
            yield f'the mode "{arm.mode}" searches, and there is no table [search]'
        if arm.solver not in self.solvers:
            yield f"there is no solver {arm.solver!r}; there are {_listed(self.solvers)}"
        if arm.decomposer not in self.decomposers:
            yield f"there is no decomposer {arm.decomposer!r}; there are {_listed(self.decomposers)}"
        elif arm.mode in _SINGLE_STAGE and self.decomposers[arm.decomposer].kind != "none":
            yield f'the mode "{arm.mode}" takes no decomposer, and {arm.decomposer!r} is named'
        elif arm.mode not in _SINGLE_STAGE and self.decomposers[arm.decomposer].kind == "none":
            yield f'the mode "{arm.mode}" needs a decomposer'
        others = [one.name for one in self.arms if one is not arm]
        if arm.versus is not None and arm.versus not in others:
            yield f"there is no other arm {arm.versus!r}; there are {_listed(others)}"

    def _search_problems(self, arm: Arm) -> Iterable[str]:
        if arm.decomposer not in (REFERENCE, *self.decomposers):
            yield f"there is no decomposer {arm.decomposer!r}; there are {_listed(self.decomposers)}"
        elif arm.decomposer not in (NONE, REFERENCE) and self.decomposers[arm.decomposer].kind in ("none", "recorded"):
            yield f"the decomposer {arm.decomposer!r} writes no plans"
        if REFERENCE in self.decomposers:
            yield f'"{REFERENCE}" stands for the dataset\'s own plans; name the decomposer otherwise'
        if arm.found_by is not None and arm.found_by not in [one.name for one in self.arms]:
            yield f"it answers from what {arm.found_by!r} found, which is no arm here"
        if not self.solvers and (arm.found_by or _asks(arm.mode)):
            yield "it needs a solver"


def _searching_arm(name: Any, solver: str | None, search: Any) -> Any:
    """Return the arm that a name stands for (see `Arm`).

    `solver` is for those arms that ask one. An arm that is spelt out is returned as it is.
    """
    if not isinstance(name, str):
        return name
    searched = name.removeprefix(ANSWER)
    decomposer, _, fill = searched.partition("-")
    if searched in (WHOLE, *get_args(Rival)):
        arm = {"mode": searched, "decomposer": NONE}
    elif decomposer and fill in get_args(Fill):
        arm = {"mode": fill, "decomposer": decomposer}
    else:
        raise ValueError(
            f'{name!r} is no arm: expected "{WHOLE}", a rival ({", ".join(get_args(Rival))}) or DECOMPOSER-FILL with a '
            f'fill of {", ".join(get_args(Fill))}, or one of these after "{ANSWER}"'
        )
    if searched != name:
        limit = search.get("answer_limit", Search().answer_limit) if isinstance(search, dict) else search.answer_limit
        return {**arm, "name": name, "mode": "direct", "solver": solver, "found_by": searched, "limit": limit}
    return {**arm, "name": name, "solver": solver if _asks(arm["mode"]) else None}


def _asks(mode: str) -> bool:
    """Return whether an arm that searches asks a solver."""
    return mode in get_args(Rival) or mode.startswith(("sequential", "candidates"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
