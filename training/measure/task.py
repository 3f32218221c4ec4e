"""A task: what an arm does with a question. Here is what all tasks share; `answers` and `retrieval` have one each."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import PROMPT_VERSION, decomposition_prompt
from langchain_divconq.usage import StageUsage
from training.example import Example
from training.measure.config import Arm, DecomposerOptions, Measurement, SolverOptions
from training.measure.models import (
    ask_all,
    decomposer_settings,
    files_of,
    load_decomposer,
    load_solver,
    solver_settings,
    source_settings,
)
from training.measure.plans import Planned, take_recorded, undivided, write_plans
from training.measure.records import AnswerRecord, RetrievalRecord, Used
from training.store import Records
from training.teach.requests import UnfinishedError
from training.teach.teachers import preview

Models: TypeAlias = Mapping[str, Runnable[Any, Any]]
R = TypeVar("R", AnswerRecord, RetrievalRecord)

_SUBQUESTION_TOKENS = 20
_SUBQUESTION = "How many of them are left after the first day of the week is over and done with?"
"""As long as one that nobody has written yet."""

# When so many questions in a row have got no reply, the rest would get none either.
_HOPELESS = 20


class Task(ABC, Generic[R]):
    """An arm with all it needs, set up but not begun. Of each question it leaves a record."""

    kind: ClassVar[type[Any]]
    """The class of its records."""
    reply_tokens: ClassVar[int]
    """How long a reply is expected to be, for the preview."""
    has_plans: ClassVar[bool] = True
    """Whether the questions are asked through plans."""

    def __init__(
        self, config: Measurement, arm: Arm, drawn: Sequence[Example], models: Models, shelf: Any = None
    ) -> None:
        """Set an arm up. Nothing is loaded or asked yet.

        `drawn` are all questions, in the order the seed draws them; `shelf` is what is searched, if
        anything is.

        Raises:
            ValueError: A model cannot be set up, or a record of the arm cannot be read.
            WeightsNotFoundError: There is no such adapter.
        """
        self.config, self.arm, self.shelf = config, arm, shelf
        self.source = config.source
        self.order = [example.id for example in drawn]
        self.examples = [*drawn[: config.limit_of(arm)]]
        self.plan_options = config.decomposer_of(arm)
        self.solver_options = config.solvers[arm.solver] if arm.solver else None
        # One that another arm asks is loaded too, for its files' checksums; a provider has none, and may lack a key.
        is_loaded = self.has_plans or self.plan_options.kind != "model"
        self.decomposer = load_decomposer(self.plan_options, models.get(arm.decomposer)) if is_loaded else None
        self.model: Any = models.get(arm.solver or "")  # None: the arm asks no solver
        if self.model is None and self.solver_options is not None:
            self.model = load_solver(self.solver_options)
        self.settings = self._settings(drawn)
        self.file: Records[R] = Records(config.results_folder / f"{arm.name}.jsonl", self.kind)
        self.at_once = 1

    @abstractmethod
    async def ask(self, example: Example, planned: Planned) -> R:
        """Return the record of one question, whatever becomes of it; what is no question's fault is raised."""

    @abstractmethod
    def prompts(self, example: Example, subquestions: Sequence[str]) -> Iterator[list[BaseMessage]]:
        """Yield what the solver will be sent about one question, as long as that will be; of no account is its text."""

    @abstractmethod
    def figures(self, records: Sequence[R]) -> str:
        """Return an arm's figures in words, to watch a measurement by."""

    def more_settings(self) -> dict[str, Any]:
        """Return what else the arm's records depend on, in JSON's types."""
        return {}

    def _settings(self, drawn: Sequence[Example]) -> dict[str, Any]:
        """Return what the arm's records depend on, in JSON's types; no key is among it."""
        arm, solver, plans = self.arm, self.solver_options, self.plan_options
        files = files_of("solver", self.model) | files_of("decomposer", self.decomposer and self.decomposer.model)
        return {
            "decomposer": decomposer_settings(arm.decomposer, plans),
            **({} if solver is None else {"solver": solver_settings(arm.solver, solver)}),
            "mode": arm.mode,
            **source_settings(self.source, drawn),
            "n": len(self.examples),
            "prices": {"solver": _price(solver), "decomposer": _price(plans)},
            "weights": {name: fingerprint(path) for name, path in files.items()},
            **({} if arm.versus is None else {"versus": arm.versus}),
            **self.more_settings(),
        }

    def left(self, limit: int | None, retry_failed: bool) -> list[Example]:
        """Return the questions, of the first `limit`, that have no record, or on request one of a failure."""
        known = self.file.records
        return [
            example
            for example in self.examples[:limit]
            if example.id not in known or (retry_failed and known[example.id].is_failure)
        ]

    def show_preview(self, left: Sequence[Example]) -> None:
        """Print what it will take to ask about the questions left."""
        options, arm = self.plan_options, self.arm
        if not self.has_plans:
            known = {}
        elif self.decomposer is None:
            known = self.plans(left)
        else:
            known = Records(self._plans_path, Planned).records
            style = options.prompt_style or ("student" if options.kind in ("shipped", "gguf") else "one_shot")
            cap = options.max_subquestions
            prompts = [decomposition_prompt(one.asked, cap, style) for one in left if one.id not in known]
            name = f"{arm.name}, decomposer {arm.decomposer}"
            print(preview(name, prompts, _SUBQUESTION_TOKENS * cap, options.price), flush=True)
        if self.solver_options is not None:
            unknown = (_SUBQUESTION,) * options.max_subquestions
            plan = {name: planned.decomposition.subquestions for name, planned in known.items()}
            sent = (prompt for one in left for prompt in self.prompts(one, plan.get(one.id, unknown)))
            name = f"{arm.name}, solver {arm.solver}"
            print(preview(name, sent, self.reply_tokens, self.solver_options.price), flush=True)

    def plans(self, examples: Sequence[Example]) -> dict[str, Planned]:
        """Return the plan of each question by its id: written now or before, recorded, or none."""
        if self.plan_options.kind == "none":
            return undivided(examples)
        if self.decomposer is None:
            return take_recorded(examples, self.plan_options, self.source)
        names = {name: mark for name, mark in self.settings["weights"].items() if name.startswith("decomposer")}
        settings = {"decomposer": self.settings["decomposer"], "weights": names, "prompt_version": PROMPT_VERSION}
        concurrency, title = self.plan_options.concurrency, f"{self.arm.name}, plans"
        return write_plans(examples, self.decomposer, self._plans_path, settings, concurrency=concurrency, title=title)

    def ask_all(self, left: Sequence[Example], done: int) -> None:
        """Ask about the questions left and keep a record of each.

        Raises:
            UnfinishedError: Many questions in a row got no reply.
            Exception: What fails every question alike (no server, no key, no file), as it came.
        """
        planned = self.plans(left)
        # What failed is forgotten no sooner than it is asked again: till then it counts as wrong.
        self.forget({example.id for example in left})
        self.at_once = min(self.solver_options.concurrency if self.solver_options else 1, len(left))
        in_a_row = 0

        async def one(example: Example) -> None:
            nonlocal in_a_row
            record = await self.ask(example, planned[example.id])
            self.file.add(record)
            in_a_row = in_a_row + 1 if record.is_failure else 0
            if in_a_row == _HOPELESS:
                raise UnfinishedError(
                    f"{self.arm.name}: {_HOPELESS} questions in a row got no reply, the last: {_why(record)}. Mend "
                    "that, then ask them again with --retry-failed."
                )

        ask_all(left, one, concurrency=self.at_once, done=done, title=self.arm.name)

    def forget(self, ids: set[str]) -> None:
        """Remove the records of questions that are about to be asked again."""
        self.file.drop(lambda record: record.id in ids)

    def used(self, planned: Planned, solve: StageUsage) -> dict[str, Any]:
        """Return what each stage used for one question."""
        return {
            "decompose": Used.of(planned.decomposition.usage, self.plan_options.concurrency),
            "solve": Used.of(solve, self.at_once),
        }

    def summary(self, limit: int | None) -> str:
        """Return what the arm's records come to, in words."""
        records = [self.file.records[one.id] for one in self.examples[:limit]]
        notes = [
            f"{count} {why}" for why, count in Counter(_why(one) for one in records if one.is_failure).most_common()
        ]
        unplanned = Counter(one.no_plan for one in records if one.no_plan)
        notes += [f"{count} without a plan: {why}" for why, count in unplanned.most_common()]
        return f"{self.arm.name}: {self.figures(records)}" + "".join(f"; {note}" for note in notes)

    @property
    def _plans_path(self) -> Path:
        return self.config.folder / "plans" / f"{self.arm.decomposer}-{self.source.name}.jsonl"


def _why(record: AnswerRecord | RetrievalRecord) -> str:
    return record.why if isinstance(record, AnswerRecord) else str(record.failure)


def _price(options: SolverOptions | DecomposerOptions | None) -> dict[str, float] | None:
    return options.price.model_dump(include={"input", "output"}) if options and options.price else None
