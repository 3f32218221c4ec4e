"""A plan's searches and readings as a stage: what may happen at once, what goes on without what, what is announced."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from langchain_core.exceptions import ContextOverflowError
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.retry import ExponentialJitterParams

from langchain_divconq.asking import OnTrouble, in_one_line, is_for_the_caller
from langchain_divconq.calls import Announcement, Call, Reply, Stage
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.retrieval.fusing import Search
from langchain_divconq.retrieval.hops import Hop, Query, is_searchable, make_queries
from langchain_divconq.retrieval.reading import read_answers, reader_input
from langchain_divconq.types import Decomposition

logger = logging.getLogger(__name__)

HOP_EVENT = "divconq_hop"
"""The custom event of what has been searched for, and read where another subquestion refers to it; number 0 is the
whole question."""

_WAIT: ExponentialJitterParams = {"max": 0.5}
"""Seconds before the second attempt, in the words of LangChain's retries."""


@dataclass
class Walk:
    """The way through one plan, as far as it has been gone.

    Attributes:
        read_k: The most documents that are read for one answer.
        options: Keyword arguments of every search.
        searches: What was found, by the words that were searched for; the whole question first.
        hops: The subquestions that are done with, by number; the whole question is number 0.
        troubles: What failed, in words.
    """

    plan: Decomposition
    retriever: Runnable[Any, Any]
    reader: Runnable[Any, Any] | None
    read_k: int
    on_trouble: OnTrouble
    options: dict[str, Any]
    searches: dict[str, Search] = field(default_factory=dict)
    hops: dict[int, Hop] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    _failed: dict[str, Exception] = field(default_factory=dict)
    _answers: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def go(self) -> Stage[None]:
        """Search for the whole question and for each subquestion, as soon as what it refers to is done with.

        Raises:
            Exception: The error of the first search, where every one failed; a broken set-up's; with
                `on_trouble="raise"`, any.
        """
        while ready := self._ready():
            yield from self._search([query for queries in ready for query in queries if self._is_searchable(query)])
            yield from self._read([queries[0] for queries in ready])
            for first, *_ in ready:
                yield from self._done(first)
        if not self.searches:
            raise next(iter(self._failed.values()))

    @property
    def whole(self) -> Search:
        """What was found for the whole question; nothing where that search failed."""
        return self.searches.get(self._whole.key, Search(self._whole, ()))

    @property
    def _whole(self) -> Query:
        return Query(0, self.plan.question.text)

    def _ready(self) -> list[tuple[Query, ...]]:
        """Return what can be filled in by now: the queries of each subquestion."""
        whole = [] if 0 in self.hops else [(self._whole,)]
        return whole + [
            make_queries(self.plan, number, self.hops)
            for number in range(1, len(self.plan.subquestions) + 1)
            if number not in self.hops and all(needed in self.hops for needed in self.plan.needs(number))
        ]

    def _is_searchable(self, query: Query) -> bool:
        return not query.number or is_searchable(self.plan, query.number, query.is_complete)

    def _search(self, queries: Sequence[Query]) -> Stage[None]:
        """Search, for each words once."""
        new: dict[str, Query] = {}
        for query in queries:
            if query.key not in {*self.searches, *self._failed}:
                new.setdefault(query.key, query)
        retriever = _with_a_retry(self.retriever)
        replies = yield [
            Call(retriever, query.text, query.run_name, options=self.options, may_fail=True) for query in new.values()
        ]
        for query, reply in zip(new.values(), replies, strict=True):
            if reply.error is not None:
                self._failed[query.key] = reply.error
                self._go_on(f"the search for {query.text!r} failed", reply.error)
            else:
                self.searches[query.key] = Search(query, _documents(reply))

    def _read(self, queries: Sequence[Query]) -> Stage[None]:
        """Read what others refer to, in the documents found for it."""
        reader = self.reader
        numbers = range(1, len(self.plan.subquestions) + 1)
        referred_to = {needed for number in numbers for needed in self.plan.needs(number)}
        wanted: dict[str, Query] = {}
        for query in queries:
            if query.number in referred_to and query.key not in self._answers and self._found(query):
                wanted.setdefault(query.key, query)
        if reader is None or not wanted:
            return
        replies = yield [
            Call(
                _with_a_retry(reader),
                reader_input(reader, query.text, self._found(query)[: self.read_k]),
                f"divconq:read-{query.number}",
                may_fail=True,
            )
            for query in wanted.values()
        ]
        for query, reply in zip(wanted.values(), replies, strict=True):
            if reply.error is not None:
                self._go_on(f"no answer to {query.text!r} could be read", reply.error)
            else:
                self._answers[query.key] = read_answers(reader, reply.output)

    def rerank(self, reranker: BaseDocumentCompressor, documents: Sequence[Document]) -> Stage[list[Document] | None]:
        """Return what a compressor makes of the documents, for the whole question; None: it failed."""
        given = {"documents": [*documents], "query": self.plan.question.text}
        [reply] = yield [Call(_with_a_retry(_as_runnable(reranker)), given, "divconq:rerank", may_fail=True)]
        if reply.error is not None:
            self._go_on("reranking failed", reply.error)
            return None
        return _documents(reply, "reranker")

    def _found(self, query: Query) -> Sequence[Document]:
        return self.searches[query.key].documents if query.key in self.searches else ()

    def _done(self, query: Query) -> Stage[None]:
        hop = Hop(query.number, query.text, self._found(query), self._answers.get(query.key, ()))
        self.hops[query.number] = hop
        yield Announcement(
            HOP_EVENT,
            {
                "number": hop.number,
                "subquestion": hop.asked,
                "answer": hop.answer,
                "documents": [document.model_dump() for document in hop.documents],
            },
        )

    def _go_on(self, what: str, error: Exception) -> None:
        if self.on_trouble == "raise" or is_for_the_caller(error):
            raise error
        self.troubles.append(f"{what}: {in_one_line(error)}")
        logger.warning("The result is partial: %s", self.troubles[-1])


def _with_a_retry(part: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return part.with_retry(stop_after_attempt=2, retry_if_exception_type=_may_pass, exponential_jitter_params=_WAIT)


def _may_pass(error: BaseException) -> bool:
    """Whether a second attempt may do better."""
    return isinstance(error, Exception) and not isinstance(error, ContextOverflowError) and not is_for_the_caller(error)


def _as_runnable(reranker: BaseDocumentCompressor) -> Runnable[Any, Any]:
    def compress(given: dict[str, Any], config: RunnableConfig) -> Sequence[Document]:
        return reranker.compress_documents(**given, callbacks=config.get("callbacks"))

    async def acompress(given: dict[str, Any], config: RunnableConfig) -> Sequence[Document]:
        return await reranker.acompress_documents(**given, callbacks=config.get("callbacks"))

    return RunnableLambda(compress, acompress)


def _documents(reply: Reply, part: str = "retriever") -> list[Document]:
    output = reply.output
    if isinstance(output, (list, tuple)) and all(isinstance(document, Document) for document in output):
        return [*output]
    raise ConfigurationError(f"The {part} must return a list of documents, got {type(output).__name__}.")
