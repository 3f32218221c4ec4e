"""Many searches, one budget: what each search found, made one list. Pure functions."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from langchain_core.documents import Document

from langchain_divconq.retrieval.hops import Query

Fuse: TypeAlias = Literal["turns", "rrf"]
"""How the searches share the budget: each gives its best in turn, or by the sum of reciprocal ranks."""

_RRF = 60
"""What is added to a rank before its reciprocal is taken; the constant everybody uses."""


@dataclass(frozen=True)
class Search:
    """A query and the documents found for it, best first."""

    query: Query
    documents: Sequence[Document]


@dataclass(frozen=True)
class Hit:
    """A document and the query that it was found for."""

    document: Document
    query: Query

    @property
    def identity(self) -> frozenset[tuple[str, str]]:
        """What two documents share that are the same: the id, or the content."""
        content = ("content", self.document.page_content)
        return frozenset({content} if self.document.id is None else {content, ("id", self.document.id)})


def fused(searches: Sequence[Search], how: Fuse = "turns") -> list[Hit]:
    """Return all documents of some searches in one order, no two alike.

    "turns": searches whose references are all answered first, in their order, then the whole question, then the others;
    each gives its best document that is not there yet, then each its next. "rrf": by the sum of the reciprocal ranks,
    of equals the one that the turns have first.
    """
    order = [search for _, search in sorted(enumerate(searches), key=lambda each: (_turn(each[1].query), each[0]))]
    hits = list(_in_turns(order))
    if how == "turns":
        return hits
    scores = [
        sum(1 / (_RRF + rank) for search in searches if (rank := _rank(hit, search.documents)) is not None)
        for hit in hits
    ]
    return [hit for _, _, hit in sorted(zip((-score for score in scores), range(len(hits)), hits, strict=True))]


def within(hits: Sequence[Hit], whole: Search, k: int) -> list[Hit]:
    """Return the first `k`, the whole question's best document always among them.

    Where the plan found nothing that the whole question does not find among its own first `k`, those are returned: a
    plan that finds no more changes nothing.
    """
    plain = [Hit(document, whole.query) for document in whole.documents[:k]]
    kept = list(hits[:k])
    known = {mark for hit in plain for mark in hit.identity}
    if all(hit.identity & known for hit in kept):
        return plain
    if plain and not any(hit.identity & plain[0].identity for hit in kept):
        kept[-1] = plain[0]
    return kept


def _turn(query: Query) -> int:
    return (0 if query.is_complete else 2) if query.number else 1


def _in_turns(searches: Sequence[Search]) -> Iterator[Hit]:
    seen: set[tuple[str, str]] = set()
    turns = deque((search.query, iter(search.documents)) for search in searches)
    while turns:
        query, documents = turns.popleft()
        hit = next((hit for document in documents if seen.isdisjoint((hit := Hit(document, query)).identity)), None)
        if hit is not None:
            seen |= hit.identity
            yield hit
            turns.append((query, documents))


def _rank(hit: Hit, documents: Sequence[Document]) -> int | None:
    return next(
        (rank for rank, document in enumerate(documents, 1) if hit.identity & Hit(document, hit.query).identity), None
    )
