"""A shelf of texts that is searched, and a retriever over it with scripted models."""

import asyncio
import re
import threading
import time
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import Field, PrivateAttr

from langchain_divconq.plans import render_plan
from langchain_divconq.prompts import UNKNOWN
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.types import Decomposition, Question
from tests.unit_tests.fakes import ScriptedModel, scripted
from tests.unit_tests.long_bridge import ANSWERS, PLAN, QUESTION, SHELF


class Shelf(BaseRetriever):
    """Gives the texts that lie ready for a query, and watches how it is asked.

    Attributes:
        texts: By the query; `otherwise` is given where there are none.
        titles: Of some texts.
        error: Raised where a query is in `failing`, so many times; by all queries, for ever, where none is.
    """

    texts: dict[str, list[str]] = Field(default_factory=lambda: SHELF)
    otherwise: list[str] = Field(default_factory=list)
    most: int = 9
    delay: float = 0.0
    titles: dict[str, str] = Field(default_factory=dict)
    error: Exception | None = None
    failing: dict[str, int] | None = None
    options: list[dict[str, Any]] = Field(default_factory=list)
    seen: list[str] = Field(default_factory=list)
    spans: dict[str, tuple[float, float]] = Field(default_factory=dict)
    most_in_flight: int = 0
    cancelled: int = 0
    _in_flight: int = PrivateAttr(default=0)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def _begin(self, query: str) -> float:
        with self._lock:
            self.seen.append(query)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        return time.perf_counter()

    def _end(self, query: str, start: float) -> list[Document]:
        with self._lock:
            self._in_flight -= 1
            self.spans[query] = start, time.perf_counter()
        if self.error is not None and (self.failing is None or self.failing.get(query, 0) > 0):
            if self.failing is not None:
                self.failing[query] -= 1
            raise self.error
        found = self.texts.get(query, self.otherwise)[: self.most]
        return [Document(text, metadata={"title": self.titles[text]} if text in self.titles else {}) for text in found]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        self.options.append(options)
        start = self._begin(query)
        time.sleep(self.delay)
        return self._end(query, start)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        self.options.append(options)
        start = self._begin(query)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._end(query, start)


def asked(messages: list[BaseMessage]) -> str:
    """The subquestion that a reading prompt asks."""
    match = re.search(r"^Question: (.*)$", messages[-1].text, re.MULTILINE)
    assert match is not None
    return match[1]


def reading(messages: list[BaseMessage]) -> str:
    return f"Answer: {ANSWERS.get(asked(messages), UNKNOWN)}"


def build(plan: list[str] = PLAN, **fields: Any) -> DecomposedRetriever:
    """Return a retriever over a scripted decomposer, a scripted solver and a shelf."""
    fields = {"retriever": Shelf(), "reader": scripted(reading), "decomposer": scripted(render_plan(plan)), **fields}
    return DecomposedRetriever(**fields)


def divided(plan: list[str], question: str = QUESTION) -> Runnable[Any, Any]:
    """Return a decomposer that always gives a plan."""
    decomposition = Decomposition(question=Question(text=question), subquestions=tuple(plan))
    return RunnableLambda(lambda _: decomposition)


def shelf(retriever: DecomposedRetriever) -> Shelf:
    assert isinstance(retriever.retriever, Shelf)
    return retriever.retriever


def reader(retriever: DecomposedRetriever) -> ScriptedModel:
    assert isinstance(retriever.reader, ScriptedModel)
    return retriever.reader


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def searched(
    retriever: Any, question: str, asynchronous: bool, config: RunnableConfig | None = None, **options: Any
) -> list[Document]:
    """Search with or without an event loop."""
    found = (
        asyncio.run(retriever.ainvoke(question, config, **options))
        if asynchronous
        else retriever.invoke(question, config, **options)
    )
    assert isinstance(found, list)
    return found


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
