"""The metrics of plans: a verdict on each plan, and figures over verdicts. Pure functions.

A verdict holds identifiers, counts and numbers, no text, so it may be published for any benchmark.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_divconq.types import references
from training.measure.intervals import Share, only_if
from training.scoring import best_assignment
from training.store import Frozen

NEAR_COPY = 0.9
"""Two reference-free questions are the same when so much of their content words is common to both (Jaccard)."""

_TOKEN = re.compile(r"#\d+|\d+(?:[.,]\d+)*|[^\W\d_]+")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
# Question words are content ("when" and "where" ask for different things), and so is what calculates or places in time.
_FUNCTION_WORD = re.compile(
    r"a|an|the|of|in|on|at|by|for|with|and|or|that|this|these|those|there|is|are|was|were|be|been|do|does|did|has|have|had"
    r"|it|its|he|she|they|him|her|them|his|their|s"
)

Plan: TypeAlias = Sequence[str]


class PlanVerdict(Frozen):
    """What is known of one plan, without its words."""

    id: str
    """The example's."""
    source: str
    """Where the question comes from."""
    parses: bool
    """Whether the reply, held to no grammar, ends by itself and is read as a plan or as the sentinel."""
    written: int = 0
    """How many subquestions the model wrote, held to the grammar."""
    repeats: bool = False
    """Whether one of those is a duplicate of another."""
    copies: bool = False
    """Whether one of those copies the question, or the question's last sentence."""
    kept: int = 0
    """How many subquestions the library kept of them; 0: it does not divide the question."""
    edges: int = 0
    """How many pairs (subquestion, earlier subquestion it refers to) there are among those kept."""
    reference: int | None = None
    """How many subquestions the reference plan has; None: there is no reference plan."""
    reference_edges: int = 0
    """The same for the reference plan."""
    shared_edges: int = 0
    """How many edges both have, by number."""
    agreement: float | None = None
    """See `agreement`; None without a reference plan, or where it has no subquestions."""
    probability: float | None = None
    """The model's own probability that there is nothing to divide."""
    tokens: int = 0
    """Tokens it wrote, held to the grammar."""
    seconds: float = 0.0
    """Time it took for that."""
    error: str | None = None
    """The class of the error that left the question without a plan; None: there was none."""


@dataclass(frozen=True)
class Metric:
    """A figure over verdicts: the ratio of two sums."""

    title: str
    """A few words for a table."""
    definition: str
    """The measure, in a sentence."""
    share: Callable[[PlanVerdict], Share]
    """Its numerator and denominator for one question."""


def _undivided(verdict: PlanVerdict) -> bool:
    return verdict.kept == 0 and verdict.error is None


METRICS: dict[str, Metric] = {
    "parse_rate": Metric(
        "parse rate",
        "share of replies, decoded greedily and held to no grammar, that end by themselves and are read as a plan or "
        "as the sentinel",
        lambda v: (float(v.parses), 1.0),
    ),
    "repeats_or_copies": Metric(
        "repeats or copies",
        "share of plans, as written under the grammar, with a subquestion that duplicates another or copies the "
        "question or its last sentence: the same words, or (without references) at least "
        f"{NEAR_COPY:.0%} of the content words in common",
        lambda v: only_if(v.written > 0, v.repeats or v.copies),
    ),
    "subquestions": Metric(
        "subquestions", "mean number of subquestions in a plan, as written", lambda v: only_if(v.written > 0, v.written)
    ),
    "undivided_one_step": Metric(
        "left whole, one-step questions (right)",
        "share of the questions with an empty reference plan that the decomposer does not divide, at gate 0.5",
        lambda v: only_if(v.reference == 0, _undivided(v)),
    ),
    "undivided_multi_step": Metric(
        "left whole, multi-step questions (wrong)",
        "share of the questions with subquestions in the reference plan that the decomposer does not divide, at gate "
        "0.5",
        lambda v: only_if(bool(v.reference), _undivided(v)),
    ),
    "uses_references_precision": Metric(
        "uses references, precision",
        "of the plans with a reference, on multi-step questions, the share whose reference plan has one",
        lambda v: only_if(bool(v.reference) and v.edges > 0, v.reference_edges > 0),
    ),
    "uses_references_recall": Metric(
        "uses references, recall",
        "of the questions whose reference plan has a reference, the share whose plan has one",
        lambda v: only_if(v.reference_edges > 0, v.edges > 0),
    ),
    "edge_precision": Metric(
        "references, precision",
        "of the pairs “subquestion k refers to #j” in plans on multi-step questions, the share that the reference plan "
        "has too, by number",
        lambda v: (float(v.shared_edges), float(v.edges)) if v.reference else (0.0, 0.0),
    ),
    "edge_recall": Metric(
        "references, recall",
        "of the pairs “subquestion k refers to #j” in reference plans, the share that the plan has too, by number",
        lambda v: (float(v.shared_edges), float(v.reference_edges)),
    ),
    "agreement": Metric(
        "agreement with the reference",
        "on multi-step questions, the F1 of content words (a reference is a word) summed over the best one-to-one "
        "matching of the plan's and the reference's subquestions, divided by the larger number of subquestions",
        lambda v: only_if(v.agreement is not None, v.agreement or 0.0),
    ),
}


def judge(question: str, written: Plan, kept: Plan, reference: Plan | None) -> dict[str, int | float | bool | None]:
    """Return what a `PlanVerdict` says of a plan's words.

    An empty reference: the question is one step; None: there is none.
    """
    edges = _edges(kept)
    reference_edges = _edges(reference or ())
    return {
        "written": len(written),
        "repeats": repeats(written),
        "copies": copies(written, question),
        "kept": len(kept),
        "edges": len(edges),
        "reference": None if reference is None else len(reference),
        "reference_edges": len(reference_edges),
        "shared_edges": len(edges & reference_edges),
        "agreement": agreement(kept, reference) if reference else None,
    }


def repeats(plan: Plan) -> bool:
    """Return whether a subquestion is a duplicate of an earlier one."""
    return any(_same(one, other) for at, one in enumerate(plan) for other in plan[:at])


def copies(plan: Plan, question: str) -> bool:
    """Return whether a subquestion copies the question or its last sentence."""
    last = [sentence for sentence in _SENTENCES.split(question.strip()) if sentence][-1]
    return any(_same(subquestion, asked) for subquestion in plan for asked in (question, last))


def agreement(plan: Plan, reference: Plan) -> float:
    """Return how much of a reference plan is in a plan, from 0 to 1.

    The F1 of content words, summed over the one-to-one matching of subquestions that makes the sum largest, divided by
    the larger number of subquestions: what has no counterpart counts as 0.
    """
    if not plan or not reference:
        return float(len(plan) == len(reference))
    one, other = ([_content(text) for text in texts] for texts in (plan, reference))
    return best_assignment([[_f1(left, right) for right in other] for left in one]) / max(len(one), len(other))


def _edges(plan: Plan) -> set[tuple[int, int]]:
    return {(number, earlier) for number, text in enumerate(plan, start=1) for earlier in references(text)}


def _same(one: str, other: str) -> bool:
    if _TOKEN.findall(one.casefold()) == _TOKEN.findall(other.casefold()):
        return True
    if references(one) or references(other):
        return False
    left, right = set(_content(one)), set(_content(other))
    return bool(left | right) and len(left & right) >= NEAR_COPY * len(left | right)


def _content(text: str) -> Counter[str]:
    return Counter(token for token in _TOKEN.findall(text.casefold()) if not _FUNCTION_WORD.fullmatch(token))


def _f1(one: Counter[str], other: Counter[str]) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0
