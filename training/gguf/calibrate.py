"""Fits the confidence of a shipped student in its plans: a logistic function, on held-out training questions.

Each held-out question is divided, its plan graded beside the recorded one (`grade`), and the features of the plan
(`langchain_divconq.confidence`) weighed so that the confidence is the share of good plans. The weights go beside the
adapter, where the library reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from langchain_core.messages import AIMessage

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.confidence import FEATURES, Calibration, plan_features, token_logprobs
from training.config import Config, Source
from training.data.sources import read_source
from training.example import Example, load_examples
from training.gguf.export import ADAPTERS, published_name
from training.measure.grade import asking_words, grade
from training.measure.models import Meter
from training.store import Frozen, save_json, save_text
from training.student.model import served_file

LEAST_PLANS = 40
"""With fewer graded plans, or fewer than five of either kind, there is nothing to fit."""

_RIDGE = 1.0  # a prior on standardised weights; without it features that hardly vary get any weight
_FOLDS = 5
_ROUNDS = 50
_SURE = 0.8


class GradedPlan(Frozen):
    """One plan without its words: what is seen of it, and whether it is good."""

    id: str
    features: dict[str, float]
    good: bool
    held_out: float | None = None
    """Its confidence by weights that were fitted without it."""


def calibrate(config: Config, folder: Path = ADAPTERS) -> None:
    """Fit a run's confidence, and write it beside the library's adapter for the same weights.

    Raises:
        ValueError: The run is not exported, or has too few plans to fit on.
    """
    adapter, base = config.folder / "5-gguf" / "adapter.gguf", served_file(config)
    if not adapter.exists():
        raise ValueError(f"There is no {adapter}. Run it first: python -m training export CONFIG")
    # Greedy plans take half the time, and what is fitted on them holds for those of beams as well (LOG.md, 2026-11-28).
    decomposer = Decomposer(ChatGGUF(model_path=base, adapter_path=adapter), num_beams=1)
    asking = asking_words(read_source(Source(name="everyday")))
    held_out = load_examples(config.folder / "1-validation.jsonl")
    plans = cross_validated(list(graded_plans(held_out, decomposer, asking)))
    save_text(config.folder / "7-calibration.jsonl", "".join(plan.model_dump_json() + "\n" for plan in plans))
    calibration = fit(plans)
    path = folder / f"{published_name(base)}.json"
    weights = {name: round(weight, 4) for name, weight in calibration.weights.items()}
    confidence = {"intercept": round(calibration.intercept, 4), "weights": weights}
    save_json(path, {"languages": ["en"], "confidence": confidence})
    print(f"{path.name}: {describe(plans)}", flush=True)


def graded_plans(examples: Iterable[Example], decomposer: Decomposer, asking: frozenset[str]) -> Iterator[GradedPlan]:
    """Yield each plan that the decomposer writes for the questions, with its features and its grade."""
    for example in examples:
        seen = Meter()
        decomposition = decomposer.invoke(example.asked, {"callbacks": [seen]})
        plan = decomposition.subquestions
        if not plan:
            continue
        probability = decomposition.no_decomposition_probability
        features = plan_features(example.asked, plan, probability, token_logprobs(seen.last or AIMessage("")))
        good = grade(example, plan, kind=example.source, asking=asking).good
        yield GradedPlan(id=example.id, features=features, good=good)


def fit(plans: Sequence[GradedPlan]) -> Calibration:
    """Return the logistic function that says best which plans are good, its weights held small.

    Raises:
        ValueError: There are too few plans.
    """
    good = sum(plan.good for plan in plans)
    if len(plans) < LEAST_PLANS or min(good, len(plans) - good) < 5:
        raise ValueError(f"{len(plans)} plans, {good} of them good, are too few to fit a confidence on. Hold out more.")
    table = np.array([[plan.features[name] for name in FEATURES] for plan in plans])
    wanted = np.array([plan.good for plan in plans], dtype=float)
    middle, spread = table.mean(axis=0), table.std(axis=0)
    varies = spread > 1e-9
    scaled = (table[:, varies] - middle[varies]) / spread[varies]
    rows = np.hstack([np.ones((len(plans), 1)), scaled])
    ridge = _RIDGE * np.eye(rows.shape[1])
    ridge[0, 0] = 0  # the share of good plans is no prejudice
    found = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):  # Newton's steps; the loss is convex
        likely = 1 / (1 + np.exp(-rows @ found))
        slope = rows.T @ (wanted - likely) - ridge @ found
        curve = (rows * (likely * (1 - likely))[:, None]).T @ rows + ridge
        step = np.linalg.solve(curve + 1e-9 * np.eye(len(found)), slope)
        found += step
        if float(np.abs(step).max()) < 1e-9:
            break
    weights = found[1:] / spread[varies]
    names = [name for name, kept in zip(FEATURES, varies, strict=True) if kept]
    intercept = float(found[0] - weights @ middle[varies])
    return Calibration(intercept, {name: float(weight) for name, weight in zip(names, weights, strict=True)})


def cross_validated(plans: Sequence[GradedPlan]) -> list[GradedPlan]:
    """Return the plans with the confidence that weights fitted on the other folds give each."""
    fitted = [fit([plan for at, plan in enumerate(plans) if at % _FOLDS != fold]) for fold in range(_FOLDS)]
    return [
        plan.model_copy(update={"held_out": fitted[at % _FOLDS].confidence(plan.features)})
        for at, plan in enumerate(plans)
    ]


def describe(plans: Sequence[GradedPlan]) -> str:
    """Return how far the held-out confidences can be trusted, in a line."""
    sure = [plan for plan in plans if (plan.held_out or 0) >= _SURE]
    right = sum(plan.good for plan in sure)
    brier = sum((plan.good - (plan.held_out or 0)) ** 2 for plan in plans) / len(plans)
    share = f"{right} of {len(sure)}" if sure else "none"
    good = sum(plan.good for plan in plans)
    return f"{len(plans)} plans, {good} good; of those at {_SURE:g} or more {share}; Brier {brier:.3f}"
