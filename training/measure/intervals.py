"""Ratios over questions, with 95% intervals, most by bootstrap. Pure functions; the same resamples every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from random import Random
from statistics import quantiles
from typing import Any, TypeAlias

import numpy as np

RESAMPLES = 1000
_Z = 1.96  # standard deviations that hold 95% of a normal distribution

Share: TypeAlias = tuple[float, float]
"""What a question adds to a ratio's numerator and to its denominator; (0, 0): it has no bearing on it."""


def only_if(condition: bool, value: float) -> Share:
    """Return what a question adds to a mean over those for which the condition holds."""
    return (float(value), 1.0) if condition else (0.0, 0.0)


@dataclass(frozen=True)
class Interval:
    """A ratio, or a difference of two, with its 95% interval."""

    value: float
    """The estimate."""
    low: float
    high: float
    """The interval's bounds."""
    n: int
    """How many questions bear on it."""


def ratio(shares: Sequence[Share]) -> Interval | None:
    """Return the ratio of the sums; None where no question bears on it."""
    value = _ratio(shares)
    if value is None:
        return None
    return _estimate(value, _resampled(shares), sum(below > 0 for _, below in shares))


def share(good: int, of: int) -> Interval:
    """Return the share that is good with its 95% interval by Wilson, which is wide where few are all alike.

    Args:
        good: How many are.
        of: How many there are, at least one.
    """
    value, spread = good / of, _Z**2 / of
    middle = (value + spread / 2) / (1 + spread)
    reach = _Z * sqrt(value * (1 - value) / of + spread / of / 4) / (1 + spread)
    return Interval(value, max(0.0, middle - reach), min(1.0, middle + reach), of)


def difference(ours: Sequence[Share], theirs: Sequence[Share]) -> Interval | None:
    """Return our ratio minus theirs, paired question by question; None where one of them is undefined.

    Raises:
        ValueError: The two are not of equal length.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"A paired difference needs the same questions; got {len(ours)} and {len(theirs)}.")
    left, right = _ratio(ours), _ratio(theirs)
    if left is None or right is None:
        return None
    pairs = zip(_resampled(ours), _resampled(theirs), strict=True)
    values = [None if a is None or b is None else a - b for a, b in pairs]
    return _estimate(left - right, values, sum(a[1] > 0 or b[1] > 0 for a, b in zip(ours, theirs, strict=True)))


def _estimate(value: float, resampled: Sequence[float | None], n: int) -> Interval:
    defined = [one for one in resampled if one is not None]
    cuts = quantiles(defined, n=40) if len(defined) > 1 else [value, value]
    return Interval(value, cuts[0], cuts[-1], n)


def _ratio(shares: Sequence[Share]) -> float | None:
    below = sum(share[1] for share in shares)
    return sum(share[0] for share in shares) / below if below else None


def _resampled(shares: Sequence[Share]) -> list[float | None]:
    """Return the ratio in each resample: the same questions are drawn for any two lists of equal length."""
    sums = _draws(len(shares)) @ np.asarray(shares)
    return [over / under if under else None for over, under in sums.tolist()]


@lru_cache(maxsize=4)
def _draws(count: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return how often each question is drawn in each resample: (resamples, questions)."""
    random = Random(0)
    drawn = (random.choices(range(count), k=count) for _ in range(RESAMPLES))
    return np.array([np.bincount(one, minlength=count) for one in drawn], dtype="float64")
