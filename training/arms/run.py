"""Answers benchmark questions by arms; leaves verdicts and counts, a record a question.

What the models write stays in the run's folder, out of version control: the plans are kept there, the replies nowhere.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import WeightsNotFoundError
from langchain_divconq.prompts import PROMPT_VERSION
from langchain_divconq.solver import Solver
from langchain_divconq.usage import Price
from training.arms.config import Arm, DecomposerOptions, Measurement, SolverOptions
from training.arms.plans import Planned, load_plans, take_recorded, undivided, write_plans
from training.arms.preview import preview_answers, preview_plans
from training.arms.records import AnswerRecord, Mode, Used, save_settings, shortened
from training.arms.self_ask import SELF_ASK_VERSION, self_ask
from training.arms.solvers import (
    Meter,
    ask_all,
    decomposer_settings,
    decomposer_weights,
    load_decomposer,
    load_solver,
    solver_settings,
    solver_weights,
    source_settings,
    why_failed,
    why_no_reply,
)
from training.config import Source
from training.durable import UnfinishedError
from training.example import Example, choose
from training.sources import read_source
from training.store import Records, hold
from training.verdicts import Verdict
from training.verdicts import judge as judge_reply

Judge: TypeAlias = Callable[[Example, str, str | None], Verdict]
Models: TypeAlias = Mapping[str, Runnable[Any, Any]]

# When so many questions in a row have got no reply, the rest would get none either.
_HOPELESS = 20


@dataclass(frozen=True)
class _Run:
    """An arm with all it needs, set up but not begun."""

    arm: Arm
    source: Source
    examples: list[Example]
    file: Records[AnswerRecord]
    plans: Path
    settings: dict[str, Any]
    decomposer_options: DecomposerOptions
    solver_options: SolverOptions
    decomposer: Decomposer | None
    model: Runnable[Any, Any]
    retries: bool

    @property
    def left(self) -> list[Example]:
        known = self.file.records
        return [one for one in self.examples if one.id not in known or (self.retries and known[one.id].is_failure)]


def measure(
    config: Measurement,
    *,
    limit: int | None = None,
    arms: Sequence[str] = (),
    retry_failed: bool = False,
    judge: Judge = judge_reply,
    models: Models | None = None,
) -> None:
    """Answer each arm's questions, but for those that have a record, and leave the records.

    All that can be checked is checked before a model runs, and what is left to ask is shown with its cost. An
    interrupted measurement goes on from where it was.

    Args:
        config: What is measured.
        limit: Most questions an arm, the first that are drawn; None: as the config says.
        arms: The names of some arms; empty: all, but for those whose adapter was not trained here.
        retry_failed: Whether questions that got no reply before are asked again.
        judge: Tells what a reply is worth.
        models: Chat models that take the place of those the config names, by solver's and decomposer's name.

    Raises:
        ValueError: An arm is unknown, a source or model cannot be set up, or there are records of other settings.
        WeightsNotFoundError: There is no such adapter for an arm that is named.
        UnfinishedError: Many questions in a row got no reply.
        Exception: What fails every question alike (no server, no key, no file), as it came.
    """
    chosen = _choose_arms(config, arms)
    with hold(config.folder):
        drawn = _draw(config, chosen)
        runs = []
        for arm in chosen:
            examples = drawn[config.source_of(arm).name]
            try:
                runs.append(_prepare(config, arm, examples, limit, models or {}, retry_failed))
            except WeightsNotFoundError as error:
                if arms or (arm is chosen[-1] and not runs):
                    raise
                print(f"{arm.name} is left out. {error}", flush=True)
        shared = {"name": config.name, "kind": "answers", "seed": config.seed, "prompt_version": PROMPT_VERSION}
        asked: Counter[str] = Counter()
        for run in runs:
            asked[run.source.name] = max(asked[run.source.name], run.settings["n"])
        save_settings(config.results_folder, shared, asked, {run.arm.name: run.settings for run in runs})
        for run in runs:
            if run.left:
                _show_preview(run)
        for run in runs:
            _answer_all(run, judge)
            # Also of a run without a limit after one with: whatever the limit, the order is that of the draw.
            run.file.sort(example.id for example in drawn[run.source.name])
            print(_summary(run), flush=True)


def _choose_arms(config: Measurement, names: Sequence[str]) -> list[Arm]:
    known = {arm.name: arm for arm in config.arms}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"There is no arm {unknown[0]!r} in {config.name}; there are {', '.join(known)}.")
    return [arm for arm in config.arms if not names or arm.name in names]


def _draw(config: Measurement, arms: Sequence[Arm]) -> dict[str, list[Example]]:
    """Return all questions of each source in the order the seed draws them: arms and limits take the first of them."""
    drawn: dict[str, list[Example]] = {}
    for arm in arms:
        source = config.source_of(arm)
        if source.name in drawn:
            continue
        drawn[source.name] = choose(read_source(source), None, config.seed).get(source.name, [])
        if not drawn[source.name]:
            raise ValueError(f"There are no {source.split} questions of {source.name!r}.")
        if lacking := [example.id for example in drawn[source.name] if not example.answers]:
            raise ValueError(
                f"{len(lacking)} questions of {source.name!r} have no gold answer, {lacking[0]} for one: nothing can "
                "be measured on them."
            )
    return drawn


def _prepare(
    config: Measurement, arm: Arm, drawn: list[Example], limit: int | None, models: Models, retries: bool
) -> _Run:
    decomposer, solver = config.decomposers[arm.decomposer], config.solvers[arm.solver]
    examples = drawn[: config.limit_of(arm)]
    source = config.source_of(arm)
    weights = {} if arm.solver in models else solver_weights(solver)
    weights |= {} if arm.decomposer in models else decomposer_weights(decomposer)
    settings: dict[str, Any] = {
        "decomposer": decomposer_settings(arm.decomposer, decomposer),
        "solver": solver_settings(arm.solver, solver),
        "mode": arm.mode,
        **source_settings(source, drawn),
        "n": len(examples),
        "prices": {"solver": _price(solver.price), "decomposer": _price(decomposer.price)},
        "weights": weights,
    }
    if arm.versus is not None:
        settings["versus"] = arm.versus
    if arm.mode == "self_ask":
        settings["self_ask_version"] = SELF_ASK_VERSION
    return _Run(
        arm=arm,
        source=source,
        examples=examples[:limit],
        file=Records(config.results_folder / f"{arm.name}.jsonl", AnswerRecord),
        plans=config.folder / "plans" / f"{arm.decomposer}-{source.name}.jsonl",
        settings=settings,
        decomposer_options=decomposer,
        solver_options=solver,
        decomposer=load_decomposer(decomposer, models.get(arm.decomposer)),
        model=models[arm.solver] if arm.solver in models else load_solver(solver),
        retries=retries,
    )


def _price(price: Price | None) -> dict[str, float] | None:
    return None if price is None else price.model_dump(include={"input", "output"})


def _answer_all(run: _Run, judge: Judge) -> None:
    left = run.left
    if not left:
        return
    planned = _plans(run, left)
    # What failed is forgotten no sooner than it is asked again: till then it counts as wrong.
    again = {example.id for example in left}
    run.file.drop(lambda record: record.id in again)
    at_once = min(run.solver_options.concurrency, len(left))
    in_a_row = 0

    async def answer(example: Example) -> None:
        nonlocal in_a_row
        record = await _answer(run, example, planned[example.id], judge, at_once)
        run.file.add(record)
        in_a_row = in_a_row + 1 if record.is_failure else 0
        if in_a_row == _HOPELESS:
            raise UnfinishedError(
                f"{run.arm.name}: {_HOPELESS} questions in a row got no reply, the last: {record.why}. Mend that, then "
                "ask them again with --retry-failed."
            )

    done = len(run.examples) - len(left)
    ask_all(left, answer, concurrency=at_once, done=done, title=run.arm.name)


def _plans(run: _Run, examples: Sequence[Example]) -> dict[str, Planned]:
    if run.decomposer_options.kind == "none":
        return undivided(examples)
    if run.decomposer is None:
        return take_recorded(examples, run.decomposer_options, run.source)
    names = {name: found for name, found in run.settings["weights"].items() if name.startswith("decomposer")}
    settings = {"decomposer": run.settings["decomposer"], "weights": names, "prompt_version": PROMPT_VERSION}
    concurrency, title = run.decomposer_options.concurrency, f"{run.arm.name}, plans"
    return write_plans(examples, run.decomposer, run.plans, settings, concurrency=concurrency, title=title)


async def _answer(run: _Run, example: Example, planned: Planned, judge: Judge, at_once: int) -> AnswerRecord:
    """Return the record of one question, whatever becomes of it; what is no question's fault is raised."""
    decomposition, meter = planned.decomposition, Meter()
    count = len(decomposition.subquestions)
    why, text, answer = planned.failure, "", None
    if why is None:
        try:
            if run.arm.mode == "self_ask":
                text, answer, count = await self_ask(run.model, example.asked, {"callbacks": [meter]})
            else:
                solution = await _solver(run.arm.mode, run.model).ainvoke(decomposition, {"callbacks": [meter]})
                text, answer = solution.text, solution.answer
            why = why_no_reply(meter.last)
        except Exception as error:  # whatever a provider's package raises
            why = why_failed(error)
            print(f"{run.arm.name}, {example.id}: {type(error).__name__}: {error}", file=sys.stderr)
    known: dict[str, Any] = {
        "id": example.id,
        "source": example.source,
        "mode": _mode(run.arm, planned),
        "subquestions": count,
        "no_decomposition_probability": decomposition.no_decomposition_probability,
        "no_plan": planned.no_plan,
        "decompose": Used.of(decomposition.usage, run.decomposer_options.concurrency),
        "solve": Used.of(meter.usage, at_once),
    }
    if why is not None:
        f1 = 0.0 if example.source.startswith("drop") else None
        return AnswerRecord(**known, strict=0.0, lenient=0.0, f1=f1, why=why)
    verdict = judge(example, text, answer)
    scores: dict[str, Any] = {"strict": verdict.strict, "lenient": verdict.lenient, "f1": verdict.f1}
    kept = shortened(verdict.answer, example.question, example.context)
    return AnswerRecord(**known, **scores, answer=kept, why=verdict.why)


def _solver(mode: Mode, model: Runnable[Any, Any]) -> Solver:
    if mode == "direct" or mode == "step_by_step":
        return Solver(model=model, single_stage=mode)
    assert mode != "self_ask"
    return Solver(model=model, mode=mode)


def _mode(arm: Arm, planned: Planned) -> Mode:
    is_undivided = arm.mode in ("fused", "sequential", "parallel") and not planned.decomposition.subquestions
    return "step_by_step" if is_undivided else arm.mode


def _show_preview(run: _Run) -> None:
    arm, left = run.arm, run.left
    known = load_plans(run.plans).records if run.decomposer else _plans(run, left)
    if run.decomposer:
        unplanned = [example for example in left if example.id not in known]
        plans = preview_plans(unplanned, run.decomposer_options)
        print(plans.render(f"{arm.name}, decomposer {arm.decomposer}"), flush=True)
    plan = {name: planned.decomposition.subquestions for name, planned in known.items()}
    answers = preview_answers(left, plan, arm.mode, run.decomposer_options, run.solver_options)
    print(answers.render(f"{arm.name}, solver {arm.solver}"), flush=True)


def _summary(run: _Run) -> str:
    records = [run.file.records[example.id] for example in run.examples]
    right = sum(record.strict for record in records)
    notes = [f"{count} {why}" for why, count in Counter(one.why for one in records if one.is_failure).most_common()]
    unplanned = Counter(one.no_plan for one in records if one.no_plan)
    notes += [f"{count} single-stage: {why}" for why, count in unplanned.most_common()]
    return f"{run.arm.name}: {right:g} of {len(records)} right" + "".join(f"; {note}" for note in notes)
