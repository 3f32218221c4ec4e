"""Figures over records: costs, comparisons on the same questions, the gate. Pure functions."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import fmean

from langchain_divconq.usage import Price
from training.measure.intervals import Interval, difference, ratio
from training.measure.records import AnswerRecord, RetrievalRecord, Used
from training.measure.report.read import AnswerArm, Arm, R

strict: Callable[[AnswerRecord], float] = attrgetter("strict")
"""The strict score of a record."""

PER = 1000
"""Dollars are given for so many questions."""

THRESHOLDS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Spending:
    """Dollars for 1,000 questions."""

    decomposer: float | None
    solver: float | None
    """By stage, at the prices of the settings; None: unknown."""

    @property
    def total(self) -> float | None:
        """Both stages; None where one is unknown."""
        return None if self.decomposer is None or self.solver is None else self.decomposer + self.solver


def mean_score(records: Iterable[R], score: Callable[[R], float]) -> Interval | None:
    """Return the mean score with its interval; None where there are no records."""
    return ratio([(score(record), 1.0) for record in records])


def paired_difference(ours: Arm[R], theirs: Arm[R] | None, score: Callable[[R], float]) -> Interval | None:
    """Return our mean score minus theirs, over the questions that both have.

    None where there are none, or no other arm.
    """
    pairs = _pairs(ours, theirs)
    return difference([(score(one), 1.0) for one, _ in pairs], [(score(other), 1.0) for _, other in pairs])


def retained(ours: Arm[R], theirs: Arm[R] | None, score: Callable[[R], float]) -> Interval | None:
    """Return our score as a share of theirs, over the questions that both have, which n counts.

    None where there are none, there is no other arm, or theirs is 0. Each resample draws questions, and both arms'
    scores with them.
    """
    pairs = _pairs(ours, theirs)
    found = ratio([(score(one), score(other)) for one, other in pairs])
    return found and Interval(found.value, found.low, found.high, len(pairs))


def cost(arm: Arm[AnswerRecord] | Arm[RetrievalRecord]) -> Spending:
    """Return what an arm costs: a stage that calls no model costs nothing, but for plans that were only recorded."""
    decomposer = None if arm.is_recorded else _dollars([one.decompose for one in arm.records], arm.decomposer_price)
    return Spending(decomposer, _dollars([one.solve for one in arm.records], arm.solver_price))


def seconds(records: Sequence[AnswerRecord] | Sequence[RetrievalRecord]) -> float:
    """Return the seconds a question keeps the models busy, on average."""
    return fmean(one.decompose.seconds + one.solve.seconds for one in records)


def failures(records: Sequence[AnswerRecord] | Sequence[RetrievalRecord]) -> Counter[str]:
    """Return how many questions got no answer or no reply, or had no plan, by the reason."""
    whys = [one.why if isinstance(one, AnswerRecord) else one.failure for one in records]
    found = Counter(why for why in whys if why not in (None, "right", "wrong"))
    return found + Counter(f"no plan: {one.no_plan}" for one in records if one.no_plan is not None)


def pareto(points: Iterable[tuple[str, float, float]]) -> list[str]:
    """Return the names that nothing beats: no other costs as little and scores more, or costs less and scores as much.

    Args:
        points: Name, cost and score of each.
    """
    front, best = [], float("-inf")
    for name, _, score in sorted(points, key=lambda point: (point[1], -point[2], point[0])):
        if score > best:
            front.append(name)
            best = score
    return front


def by_subquestions(records: Iterable[AnswerRecord]) -> dict[int, Interval | None]:
    """Return the strict score by the number of subquestions."""
    count = attrgetter("subquestions")
    return {n: mean_score(group, strict) for n, group in groupby(sorted(records, key=count), key=count)}


@dataclass(frozen=True)
class Gated:
    """What a gate would make of two arms that were measured: one that divides, one that never does."""

    threshold: float | None
    """From this probability on that nothing need be divided, the single stage answers; None: never."""
    coverage: float
    """The share of the questions that is divided."""
    strict: tuple[float, ...]
    """The strict scores with the gate."""
    single: tuple[float, ...]
    """Those of the single stage alone, on the same questions."""
    risk_of_divided: float | None
    """Of those divided, the share that is answered wrong; None: none is."""
    output_tokens: float
    """What the solver wrote for a question, on average."""

    @property
    def risk(self) -> float:
        """The share of all questions that is answered wrong."""
        return 1 - fmean(self.strict)


def gate(dividing: AnswerArm, single: AnswerArm, thresholds: Sequence[float | None]) -> list[Gated]:
    """Return what each threshold would make of two arms, over the questions that both have.

    A question for which the decomposer gave no probability is left to the arm that divides; one whose plan came to
    nothing is not counted as divided.
    """
    pairs = _pairs(dividing, single)
    return [_gate_at(threshold, pairs) for threshold in thresholds] if pairs else []


def _gate_at(threshold: float | None, pairs: Sequence[tuple[AnswerRecord, AnswerRecord]]) -> Gated:
    def is_whole(record: AnswerRecord) -> bool:
        probability = record.no_decomposition_probability
        return threshold is not None and probability is not None and probability >= threshold

    taken = [other if is_whole(one) else one for one, other in pairs]
    divided = [one for one, _ in pairs if one.subquestions and not is_whole(one)]
    return Gated(
        threshold=threshold,
        coverage=len(divided) / len(pairs),
        strict=tuple(one.strict for one in taken),
        single=tuple(other.strict for _, other in pairs),
        risk_of_divided=1 - fmean(one.strict for one in divided) if divided else None,
        output_tokens=fmean(one.solve.output_tokens for one in taken),
    )


def gate_thresholds(dividing: AnswerArm, thresholds: Iterable[float] = THRESHOLDS) -> list[float | None]:
    """Return the thresholds that can be told from an arm: none above the gate it was measured with."""
    below = [threshold for threshold in thresholds if threshold <= _gate(dividing)]
    return [*below, None] if _gate(dividing) >= 1 else [*below]


def baseline(arm: AnswerArm, arms: Sequence[AnswerArm]) -> AnswerArm | None:
    """Return the arm that answers the same source's questions step by step, by the same solver; None: there is none."""
    return next((one for one in arms if one.mode == "step_by_step" and alike(one, arm)), None)


def alike(one: AnswerArm, other: AnswerArm) -> bool:
    """Return whether two arms ask the same solver questions of the same source."""
    return (one.source, one.solver, one.model) == (other.source, other.solver, other.model)


def gate_arms(arms: Sequence[AnswerArm]) -> Iterator[tuple[AnswerArm, AnswerArm]]:
    """Yield each arm that answers step by step behind the one that tells most of what a gate would do: of those that
    know its probability, the one with the highest gate of its own, the shipped decomposer first."""
    known = attrgetter("no_decomposition_probability")
    able = [one for one in arms if one.mode == "fused" and any(known(record) is not None for record in one.records)]
    for single in (arm for arm in arms if arm.mode == "step_by_step"):
        if likely := [one for one in able if alike(one, single)]:
            yield max(likely, key=lambda one: (_gate(one), one.kind == "shipped", len(one.records))), single


def _gate(arm: AnswerArm) -> float:
    return 1.0 if arm.gate == "always" else arm.gate


def _pairs(ours: Arm[R], theirs: Arm[R] | None) -> list[tuple[R, R]]:
    others = theirs.by_id if theirs and theirs is not ours else {}
    return [(record, others[name]) for name, record in ours.by_id.items() if name in others]


def _dollars(used: Sequence[Used], price: Price | None) -> float | None:
    if not any(one.calls for one in used):
        return 0.0
    if price is None or all(one.unmetered_calls >= one.calls for one in used):
        return None
    dollars = sum(
        price.cost(input_tokens=one.input_tokens, cached_tokens=0, output_tokens=one.output_tokens) for one in used
    )
    return PER * dollars / len(used)
