"""Measures searches hop by hop on your own questions: how much evidence is found, and with which gate."""

import time
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import merge_configs

from langchain_divconq.calls import drive
from langchain_divconq.decomposer import Gate
from langchain_divconq.retrieval.fusing import Fuse, fused, within
from langchain_divconq.retrieval.retriever import DecomposedRetriever, limiter_of
from langchain_divconq.types import Question
from langchain_divconq.usage import Record

Way: TypeAlias = Literal["whole", "turns", "rrf"]
"""The whole question alone; hop by hop, in turns; hop by hop, by reciprocal rank fusion."""

WAYS: tuple[Way, ...] = ("whole", "turns", "rrf")

_RESAMPLES = 1000
_FOLDS = 10


class Asked(NamedTuple):
    """A question, and the passages that answer it, by id, title or text."""

    question: Question
    passages: tuple[str, ...]


class Outcome(Record):
    """What became of one question.

    Attributes:
        input_tokens, output_tokens: Of the decomposer and the reader.
    """

    question: Question
    """What was asked."""

    subquestions: tuple[str, ...]
    """Its plan; empty: it was left whole."""

    no_decomposition_probability: float | None
    """The decomposer's own, that it needs none; None: it reports none."""

    found: dict[Way, tuple[int | None, ...]]
    """By way, the rank of each of its passages, from 1; None: it is not among those returned."""

    partial: tuple[str, ...] = ()
    """What failed on the way, in words."""

    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """All searches included; the way "whole" takes less."""

    def recall(self, way: Way, k: int) -> float:
        """Return the share of its passages among the first `k`."""
        ranks = self.found[way]
        return sum(rank is not None and rank <= k for rank in ranks) / len(ranks)

    def is_complete(self, way: Way, k: int) -> float:
        """Return 1 where all its passages are among the first `k`, else 0."""
        return float(self.recall(way, k) == 1)


class Interval(NamedTuple):
    """A mean, with its 95% interval by bootstrap over questions."""

    value: float
    low: float
    high: float


class Recommendation(NamedTuple):
    """A gate, and what it gives on the questions it was chosen by.

    Attributes:
        gate: From this probability on that a question needs no plan it is left whole; "always": divide every question;
            "never": none.
        complete: The share of questions with all passages found.
        elsewhere: The same on questions it was not chosen by: each tenth, with a gate chosen by the others.
        divided: The share of questions that it divides.
    """

    gate: Gate
    complete: float
    elsewhere: float
    divided: float


def evaluator(retriever: DecomposedRetriever) -> Runnable[Asked, Outcome]:
    """Return a Runnable that searches for a question in every way: one plan, one search for each subquestion.

    The retriever's `k` is the most passages that count. Let it divide every question (a gate of 1): what other gates
    give follows from the outcomes.
    """

    def search(asked: Asked, config: RunnableConfig) -> Outcome:
        start, tokens = time.perf_counter(), UsageMetadataCallbackHandler()
        config = merge_configs(config, {"callbacks": [tokens]})
        limiter = limiter_of(config)
        plan = drive(retriever._divide(asked.question), config, limiter)
        walk = retriever._walk(plan, {})
        drive(walk.go(), config, limiter)
        found: dict[Way, Sequence[Document]] = {"whole": walk.whole.documents[: retriever.k]}
        for how in get_args(Fuse):
            hits = within(fused([*walk.searches.values()], how), walk.whole, retriever.k)
            found[how] = [hit.document for hit in hits]
        return Outcome(
            question=asked.question,
            subquestions=plan.subquestions,
            no_decomposition_probability=plan.no_decomposition_probability,
            found={way: _ranks(asked.passages, documents) for way, documents in found.items()},
            partial=tuple(walk.troubles),
            input_tokens=sum(usage["input_tokens"] for usage in tokens.usage_metadata.values()),
            output_tokens=sum(usage["output_tokens"] for usage in tokens.usage_metadata.values()),
            seconds=time.perf_counter() - start,
        )

    return RunnableLambda(search, name="divconq:evaluate")


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of some values, at least one, with its interval; the same resamples every time."""
    random = Random(0)
    means = sorted(fmean(random.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return Interval(fmean(values), means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1])


def recommend(outcomes: Sequence[Outcome], way: Way, k: int) -> Recommendation:
    """Return the gate with which most questions have all their passages found; of equals, by recall, then the cheapest.

    The outcomes are of questions that were all divided, of one at least.
    """
    gate = _best_gate(outcomes, way, k)
    folds = [[one for at, one in enumerate(outcomes) if at % _FOLDS == fold] for fold in range(_FOLDS)]
    elsewhere = [
        one.is_complete(_way(one, _best_gate(others, way, k), way), k)
        for fold, held_out in enumerate(folds)
        if (others := [one for at, one in enumerate(outcomes) if at % _FOLDS != fold])
        for one in held_out
    ]
    chosen = [_way(one, gate, way) for one in outcomes]
    complete = fmean(one.is_complete(each, k) for one, each in zip(outcomes, chosen, strict=True))
    divided = fmean(float(each != "whole") for each in chosen)
    return Recommendation(gate, complete, fmean(elsewhere) if elsewhere else complete, divided)


def _best_gate(outcomes: Sequence[Outcome], way: Way, k: int) -> Gate:
    """Return the gate with the highest score; each question's probability is one, that leaves it whole."""
    # Without a probability a question is divided by every number.
    ordered = sorted(outcomes, key=_probability)
    known = [_probability(one) for one in ordered]
    complete = sum(one.is_complete("whole", k) for one in ordered)
    recall = sum(one.recall("whole", k) for one in ordered)
    gate: Gate = "never"
    best = (complete, recall)
    for at, one in enumerate(ordered):
        divided = way if one.subquestions else "whole"
        complete += one.is_complete(divided, k) - one.is_complete("whole", k)
        recall += one.recall(divided, k) - one.recall("whole", k)
        is_last = at + 1 == len(ordered)
        # Up to here all are divided, unless the next is as likely to need no plan: no gate parts the two.
        if (is_last or known[at + 1] > known[at]) and (complete, round(recall, 9)) > (best[0], round(best[1], 9)):
            best, gate = (complete, recall), "always" if is_last else known[at + 1]
    return gate


def _probability(outcome: Outcome) -> float:
    probability = outcome.no_decomposition_probability
    return -1.0 if probability is None else probability


def _way(outcome: Outcome, gate: Gate, way: Way) -> Way:
    """Return how a question is searched for under a gate."""
    if isinstance(gate, str):
        is_divided = gate == "always"
    else:
        probability = outcome.no_decomposition_probability
        is_divided = probability is None or probability < gate
    return way if is_divided and outcome.subquestions else "whole"


def _ranks(passages: Sequence[str], found: Sequence[Document]) -> tuple[int | None, ...]:
    names = [passage_names(document) for document in found]
    return tuple(
        next((rank for rank, known in enumerate(names, start=1) if plain_text(passage) in known), None)
        for passage in passages
    )


def passage_names(document: Document) -> set[str]:
    """Return what a question may call a passage by: its id, source, name or title, or its text."""
    metadata: Mapping[str, Any] = document.metadata
    names = [document.id, *(metadata.get(name) for name in ("id", "source", "name", "title")), document.page_content]
    return {plain_text(str(name)) for name in names if name is not None}


def plain_text(text: str) -> str:
    """Return a text with its spacing evened out."""
    return " ".join(text.split())
