"""The tasks of retrieval: searching for gold passages through a plan, and answering from what a search found.

Each search goes through the library's own DecomposedRetriever. The ids of the documents found are kept in the
measurement's folder, out of version control, for the arms that answer from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_divconq.calls import as_message
from langchain_divconq.prompts import reading_prompt
from langchain_divconq.retrieval import DecomposedRetriever, parse_reading
from training.example import Example
from training.measure.answers import Answering, scores
from training.measure.config import REFERENCE, Arm, Measurement, Search
from training.measure.corpus import MultiHop, corpus_fingerprint, passages, questions
from training.measure.models import Meter, why_failed, why_no_reply
from training.measure.plans import Planned, undivided
from training.measure.published import load_published
from training.measure.readers import Reader
from training.measure.records import AnswerRecord, Found, RetrievalRecord
from training.measure.rivals import RIVAL_VERSIONS, SEARCHERS, Asked, first_prompt
from training.measure.search import load_retriever, retriever_weights
from training.measure.task import Task
from training.store import Records

SEARCH_VERSION = "2"
"""Changes with what the library's retriever searches for and how it shares the budget."""

_RRF = ".rrf"


@dataclass(frozen=True)
class Shelf:
    """What is searched, and what is asked of it."""

    search: Search
    retriever: BaseRetriever
    texts: dict[str, str]
    """The passages, by id."""
    hops: dict[str, MultiHop]
    """The questions with a gold passage for each hop, by id."""
    settings: dict[str, Any]
    """What all arms depend on, in JSON's types."""


def load_shelf(search: Search) -> Shelf:
    """Return what a measurement searches.

    Raises:
        ValueError: A file of data is missing, or the package with the embedding model.
    """
    data = search.data
    if search.published is None:
        documents, asked = passages(data), questions(data)
    else:
        documents, asked = load_published(data / search.published, search.left_out and data / search.left_out)
    settings = {
        "search_version": SEARCH_VERSION,
        "retriever": search.retriever,
        "budgets": list(search.budgets),
        "k": search.k,
        **({"retriever_weights": weights} if (weights := retriever_weights(search)) else {}),
        **({} if search.published is None else {"published": search.published.stem}),
        "corpus": {"documents": len(documents), "fingerprint": corpus_fingerprint(documents)},
    }
    texts = {str(document.id): document.page_content for document in documents}
    hops = {question.id: question for question in asked}
    return Shelf(search, load_retriever(search, documents), texts, hops, settings)


class Searching(Task[RetrievalRecord]):
    """An arm that searches."""

    kind = RetrievalRecord
    reply_tokens = 10

    @cached_property
    def found(self) -> Records[Found]:
        """The documents that were found."""
        return _found(self.config, self.arm.name)

    def more_settings(self) -> dict[str, Any]:
        """Return how the solver reads or rewrites."""
        return _solver_settings(self.arm, self.shelf)

    def prompts(self, example: Example, subquestions: Sequence[str]) -> Iterator[list[BaseMessage]]:
        """Yield what the solver will be sent about one question: each hop but the last is read for."""
        if self.arm.mode in SEARCHERS:
            yield first_prompt(self.arm.mode, example.question)
        else:
            passage = _middling(self.shelf)
            for hop in self.shelf.hops[example.id].plan[:-1]:
                yield reading_prompt(hop, [passage] * self.shelf.search.read_k)

    def plans(self, examples: Sequence[Example]) -> dict[str, Planned]:
        """Return the plan of each question by its id; the dataset's own has a subquestion for each hop."""
        if self.arm.decomposer != REFERENCE:
            return super().plans(examples)
        hops = self.shelf.hops
        return {one.id: Planned.of(one, hops[one.id].plan) for one in examples}

    def forget(self, ids: set[str]) -> None:
        """Remove what was found as well: a killed run may leave that without its record, never the other way round."""
        super().forget(ids)
        self.found.drop(lambda one: one.id in ids)

    async def ask(self, example: Example, planned: Planned) -> RetrievalRecord:
        """Return the record of one question; keep what was found."""
        meter, gold = Meter(), self.shelf.hops[example.id].gold
        reader = Reader(self._fill, self.shelf.hops[example.id].hops, self.model)
        if self.arm.mode in SEARCHERS:
            documents = await self._searched_by_rival(example, meter, reader)
        else:
            documents = await self._searched(example, planned, meter, reader)
        names = tuple(str(document.id) for document in documents)
        self.found.add(Found(id=example.id, documents=names))
        return RetrievalRecord(
            id=example.id,
            hops=len(gold),
            found=tuple(names.index(one) + 1 if one in names else None for one in gold),
            subquestions=len(planned.decomposition.subquestions),
            read=reader.read,
            read_right=reader.read_right,
            no_plan=planned.no_plan,
            failure=planned.failure or reader.failure,
            **self.used(planned, meter.usage),
        )

    def figures(self, records: Sequence[RetrievalRecord]) -> str:
        """Return how much is found within each budget."""
        shares = [
            f"{budget}: {sum(one.recall(budget) for one in records) / len(records):.3f} recall, "
            f"{sum(one.is_complete(budget) for one in records) / len(records):.3f} all found"
            for budget in self.shelf.search.budgets
        ]
        return f"n = {len(records)}; documents to " + "; ".join(shares)

    @property
    def _fill(self) -> Any:
        fill = self.arm.mode.removesuffix(_RRF)
        return fill if fill in ("oracle", "sequential", "candidates") else "unfilled"

    async def _searched(self, example: Example, planned: Planned, meter: Meter, reader: Reader) -> list[Document]:
        retriever = DecomposedRetriever(
            retriever=self.shelf.retriever if self.arm.mode != "phrased" else self.shelf.retriever | _without_titles,
            reader=reader,
            decomposer=RunnableLambda(lambda _: planned.decomposition),
            k=self.shelf.search.k,
            read_k=self.shelf.search.read_k,
            fuse="rrf" if self.arm.mode.endswith(_RRF) else "turns",
        )
        # One search or reading after another: what is in flight is bounded by the questions at once.
        config: RunnableConfig = {"callbacks": [meter], "max_concurrency": 1}
        return await retriever.ainvoke(example.question, config)

    async def _searched_by_rival(self, example: Example, meter: Meter, reader: Reader) -> list[Document]:
        """Return what a rival finds; where the solver fails, what the question alone does."""
        try:
            asked = Asked(example.question, self.shelf.retriever, self.model, {"callbacks": [meter]})
            found = await SEARCHERS[self.arm.mode](asked)
        except Exception as error:  # whatever a provider's package raises
            reader.failure = why_failed(error)
            found = await self.shelf.retriever.ainvoke(example.question)
        return found[: self.shelf.search.k]


class Reading(Answering):
    """An arm that answers from what another arm found; what that arm used is counted in."""

    reply_tokens = 10
    has_plans = False

    @property
    def searched(self) -> Arm:
        """The arm that searched."""
        return self.config.arm(self.arm.found_by or "")

    def more_settings(self) -> dict[str, Any]:
        """Return which arm's documents are read, how many of them, and how they were found."""
        found = {"arm": self.searched.name, "mode": self.searched.mode, **_solver_settings(self.searched, self.shelf)}
        return {"answer_k": self.shelf.search.answer_k, "retrieval": found}

    def prompts(self, example: Example, subquestions: Sequence[str]) -> Iterator[list[BaseMessage]]:
        """Yield what the solver will be sent about one question."""
        yield reading_prompt(example.question, [_middling(self.shelf)] * self.shelf.search.answer_k)

    def plans(self, examples: Sequence[Example]) -> dict[str, Planned]:
        """Return no plan: the search had it. That all was searched for is checked here, before a model is asked.

        Raises:
            ValueError: The arm whose documents are to be read has not searched for all questions.
        """
        folder = self.config.results_folder
        self._records = Records(folder / f"{self.searched.name}.jsonl", RetrievalRecord).records
        self._documents = _found(self.config, self.searched.name).records
        if missing := [one.id for one in examples if one.id not in self._records or one.id not in self._documents]:
            raise ValueError(
                f"{self.arm.name} answers from what {self.searched.name} found, and for {len(missing)} questions "
                f"({missing[0]}, …) that is not in {self.config.folder / 'found'}. Run the arm {self.searched.name} "
                "first; if it has records already, made elsewhere, delete its file of them."
            )
        return undivided(examples)

    async def ask(self, example: Example, planned: Planned) -> AnswerRecord:
        """Return the record of one question."""
        meter, text, answer = Meter(), "", None
        names = self._documents[example.id].documents[: self.shelf.search.answer_k]
        try:
            prompt = reading_prompt(example.question, [self.shelf.texts[name] for name in names])
            reply = as_message(await self.model.ainvoke(prompt, {"callbacks": [meter]}))
            text, failure = reply.text, why_no_reply(reply)
            answer = parse_reading(text)
        except Exception as error:  # whatever a provider's package raises
            failure = why_failed(error)
        searched = self._records[example.id]
        return AnswerRecord(
            id=example.id,
            source=example.source,
            mode="direct",
            subquestions=searched.subquestions,
            no_plan=searched.no_plan,
            decompose=searched.decompose,
            solve=searched.solve + self.used(planned, meter.usage)["solve"],
            **scores(example, text, answer, failure),
        )


def _without_titles(documents: list[Document]) -> list[Document]:
    return [Document(document.page_content, id=document.id) for document in documents]


def _solver_settings(arm: Arm, shelf: Shelf) -> dict[str, Any]:
    """Return how the solver of an arm that searches reads or rewrites."""
    if arm.mode.startswith(("sequential", "candidates")):
        return {"read_k": shelf.search.read_k}
    return {"rivals_version": RIVAL_VERSIONS[arm.mode]} if arm.mode in SEARCHERS else {}


def _found(config: Measurement, arm: str) -> Records[Found]:
    return Records(config.folder / "found" / f"{arm}.jsonl", Found)


def _middling(shelf: Shelf) -> str:
    """Return the passage of middling length, which stands for all in a preview."""
    return sorted(shelf.texts.values(), key=len)[len(shelf.texts) // 2]
