"""Estimates with 95% intervals, by bootstrap over questions."""

import random
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")

RESAMPLES = 2000

Interval = list[float]
"""An estimate and the bounds of its 95% interval."""


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return the ratio of total times; the two are paired, question by question."""
    pairs = list(zip(ours, theirs, strict=True))
    return _bootstrap(pairs, lambda sample: sum(pair[0] for pair in sample) / sum(pair[1] for pair in sample))


def rate_ratio(ours: Sequence[tuple[int, float]], theirs: Sequence[tuple[int, float]]) -> Interval:
    """Return the ratio of two rates, each from unpaired (amount, seconds)."""
    random_ = random.Random(0)

    def rate(steps: Sequence[tuple[int, float]]) -> float:
        return sum(amount for amount, _ in steps) / sum(seconds for _, seconds in steps)

    def again(steps: Sequence[tuple[int, float]]) -> float:
        return rate(random_.choices(steps, k=len(steps)))

    cuts = quantiles([again(ours) / again(theirs) for _ in range(RESAMPLES)], n=40)
    return [rate(ours) / rate(theirs), cuts[0], cuts[-1]]


def middle(values: Sequence[float]) -> Interval:
    """Return the median."""
    return _bootstrap(list(values), median)


def shown(value: float | Interval) -> str:
    """Return a figure, with its interval where it has one."""
    if isinstance(value, list):
        return f"{value[0]:.3g} [{value[1]:.3g}, {value[2]:.3g}]"
    return f"{value:.3g}"


def _bootstrap(values: list[T], estimate: Callable[[list[T]], float]) -> Interval:
    random_ = random.Random(0)
    samples = [estimate(random_.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    cuts = quantiles(samples, n=40)
    return [estimate(values), cuts[0], cuts[-1]]
