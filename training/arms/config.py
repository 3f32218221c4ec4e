"""What a measurement is told: a TOML file, checked as a whole before a model runs. Every field is explained here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from langchain_divconq.prompts import PromptStyle
from langchain_divconq.types import MAX_SUBQUESTIONS
from langchain_divconq.usage import Price
from training.arms.records import Mode
from training.config import ROOT, Source, SourceName, load_toml

Kind: TypeAlias = Literal["none", "shipped", "untuned", "gguf", "recorded", "model"]

TUNING = "tuning-"
"""Begins the name of what was measured to choose something by, on rows that nothing is reported of."""

NONE = "none"
"""The decomposer of a single-stage arm; it need not be listed."""

_NAME = r"^[a-z0-9][a-z0-9._-]*$"
_SINGLE_STAGE: tuple[Mode, ...] = ("direct", "step_by_step", "self_ask")
_NEEDS: dict[Kind, tuple[str, ...]] = {"gguf": ("adapter",), "recorded": ("source",), "model": ("model",)}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SolverOptions(_Section):
    """Attributes:
    model: As `load_teacher` takes it: "gguf:PATH", "gguf:bundled" (the library's default weights), or a chat model's
        name ("openai:gpt-5-mini").
    adapter: A LoRA adapter for a GGUF: a student that solves.
    options: Keyword arguments of the chat model: base_url, api_key, max_tokens, temperature, timeout, max_retries …
    price: In dollars per million tokens, `input` and `output`; None: unknown.
    concurrency: Most questions at once.
    """

    model: str
    adapter: Path | None = None
    options: dict[str, Any] = {}
    price: Price | None = None
    concurrency: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _adapter_needs_gguf(self) -> SolverOptions:
        if self.adapter is not None and not self.model.startswith("gguf:"):
            raise ValueError(f'adapter needs a model "gguf:PATH" or "gguf:bundled", and this is {self.model!r}')
        return self


class DecomposerOptions(_Section):
    """Attributes:
    kind: "none" (single stage), "shipped" (the library's own), "untuned" (the same weights without an adapter), "gguf"
        (the default weights with another `adapter`), "recorded" (what the dataset `source` records), "model" (the chat
        model named by `model`, asked in words).
    adapter, source, model: As the kind needs.
    options: Keyword arguments of the chat model, for the kind "model".
    max_subquestions: The cap; 9 is as good as none.
    prompt_style: How the model is asked; None: as the library does.
    gate: "always" divides every question; from this probability on that nothing need be divided, one is left whole. 1
        divides every question too, but lets the model say how likely it holds that.
    price: In dollars per million tokens; None: unknown.
    concurrency: Most questions at once.
    """

    kind: Kind
    adapter: Path | None = None
    source: SourceName | None = None
    model: str | None = None
    options: dict[str, Any] = {}
    max_subquestions: int = Field(default=3, ge=1, le=MAX_SUBQUESTIONS)
    prompt_style: PromptStyle | None = None
    gate: Literal["always"] | Annotated[float, Field(ge=0, le=1)] = 0.75
    price: Price | None = None
    concurrency: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> DecomposerOptions:
        for name in ("adapter", "source", "model"):
            needed = name in _NEEDS.get(self.kind, ())
            if needed and getattr(self, name) is None:
                raise ValueError(f'the kind "{self.kind}" needs {name}')
            if not needed and getattr(self, name) is not None:
                raise ValueError(f'the kind "{self.kind}" takes no {name}')
        if self.options and self.kind != "model":
            raise ValueError(f'the kind "{self.kind}" takes no options: it always runs as the library ships it')
        return self


class Arm(_Section):
    """Attributes:
    name: Names the file of its records.
    decomposer: From the table of decomposers; "none" for the single-stage modes and "self_ask".
    solver: From the table of solvers.
    mode: "direct" or "step_by_step" (single stage), "fused", "sequential" or "parallel" (through subquestions), or
        "self_ask" (the solver asks itself one subquestion after another).
    source: Which of the sources of questions; None: the only one.
    limit: Most questions, the first that the seed draws, so that a smaller arm's are among a larger one's; None: all.
    versus: Another arm of the same source, which differs in one thing: the report shows what that makes of the score.
    """

    name: str = Field(pattern=_NAME)
    decomposer: str = NONE
    solver: str
    mode: Mode
    source: SourceName | None = None
    limit: int | None = Field(default=None, gt=0)
    versus: str | None = None


class Measurement(_Section):
    """One measurement.

    Attributes:
        name: Names the folder of results.
        seed: Draws the questions.
        tuning: Whether something is chosen by it: then it asks train or dev questions alone, and its name begins with
            "tuning-". Any other asks dev or test questions.
        questions: Where questions come from, each source once.
        solvers, decomposers: By name.
        arms: What is measured.
        output: Where what the models wrote is kept, out of version control.
        results: Where results lie. Relative paths count from the checkout's root.
    """

    name: str = Field(pattern=_NAME)
    seed: int = 0
    tuning: bool = False
    questions: tuple[Source, ...] = Field(min_length=1)
    solvers: dict[Annotated[str, Field(pattern=_NAME)], SolverOptions]
    decomposers: dict[Annotated[str, Field(pattern=_NAME)], DecomposerOptions] = Field({}, validate_default=True)
    arms: tuple[Arm, ...] = Field(min_length=1)
    output: Path = Path("training/runs")
    results: Path = Path("training/results")

    @model_validator(mode="before")
    @classmethod
    def _name_says_tuning(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("tuning") is True and isinstance(values.get("name"), str):
            return {**values, "name": TUNING + values["name"].removeprefix(TUNING)}
        return values

    @field_validator("questions")
    @classmethod
    def _expand_paths(cls, questions: tuple[Source, ...]) -> tuple[Source, ...]:
        return tuple(
            source.model_copy(update={"path": source.path.expanduser()}) if source.path else source
            for source in questions
        )

    @field_validator("decomposers")
    @classmethod
    def _add_none(cls, decomposers: dict[str, DecomposerOptions]) -> dict[str, DecomposerOptions]:
        return {NONE: DecomposerOptions(kind="none"), **decomposers}

    @model_validator(mode="after")
    def _fits_together(self) -> Measurement:
        problems = [*self._split_problems(), *self._name_problems()]
        problems += [f"arm {arm.name!r}: {problem}" for arm in self.arms for problem in self._arm_problems(arm)]
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

    def source_of(self, arm: Arm) -> Source:
        """Return where an arm's questions come from."""
        return next(source for source in self.questions if arm.source in (None, source.name))

    def limit_of(self, arm: Arm) -> int | None:
        """Return the most questions an arm asks; None: all of its source."""
        limits = [limit for limit in (self.source_of(arm).limit, arm.limit) if limit is not None]
        return min(limits, default=None)

    def _split_problems(self) -> Iterable[str]:
        refused = "test" if self.tuning else "train"
        mends = "ask train or dev" if self.tuning else "ask dev or test, or set tuning = true to choose something by it"
        for source in self.questions:
            if source.split == refused:
                yield f"{source.name} asks {refused} questions, and tuning is {str(self.tuning).lower()}: {mends}"

    def _name_problems(self) -> Iterable[str]:
        for what, names in (
            ("arms", [arm.name for arm in self.arms]),
            ("sources of questions", [source.name for source in self.questions]),
        ):
            if repeated := [name for name, count in Counter(names).items() if count > 1]:
                yield f"two {what} are named {repeated[0]!r}"

    def _arm_problems(self, arm: Arm) -> Iterable[str]:
        if arm.solver not in self.solvers:
            yield f"there is no solver {arm.solver!r}; there are {_listed(self.solvers)}"
        if arm.decomposer not in self.decomposers:
            yield f"there is no decomposer {arm.decomposer!r}; there are {_listed(self.decomposers)}"
        elif arm.mode in _SINGLE_STAGE and self.decomposers[arm.decomposer].kind != "none":
            yield f'the mode "{arm.mode}" takes no decomposer, and {arm.decomposer!r} is named'
        elif arm.mode not in _SINGLE_STAGE and self.decomposers[arm.decomposer].kind == "none":
            yield f'the mode "{arm.mode}" needs a decomposer'
        names = [source.name for source in self.questions]
        if arm.source is None and len(names) > 1:
            yield f"name its source, one of {_listed(names)}"
        if arm.source is not None and arm.source not in names:
            yield f"there are no questions from {arm.source!r}; there are {_listed(names)}"
        default = names[0] if len(names) == 1 else None
        others = [
            one.name for one in self.arms if one is not arm and (one.source or default) == (arm.source or default)
        ]
        if arm.versus is not None and arm.versus not in others:
            yield f"there is no other arm {arm.versus!r} of its source; there are {_listed(others)}"


def load_measurement(path: Path) -> Measurement:
    """Return the measurement in a TOML file.

    Raises:
        ValueError: There is no such file, it is no TOML, a field is unknown or out of range, or the parts do not fit
            together; names each.
    """
    return load_toml(path, Measurement)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
