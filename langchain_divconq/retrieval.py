"""Retrieval over several hops: a subquestion is searched for once the answers it refers to have been read."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.exceptions import ContextOverflowError
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor, ensure_config, patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import ConfigDict, Field, field_validator

from langchain_divconq.calls import as_message, gather
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, DecompositionError
from langchain_divconq.parsing import parse_answer
from langchain_divconq.prompts import UNKNOWN, reading_prompt
from langchain_divconq.types import METADATA_KEY, Decomposition, Question, fill_references, references
from langchain_divconq.unwrap import is_chat_model

logger = logging.getLogger(__name__)

T = TypeVar("T")

OnTrouble: TypeAlias = Literal["whole_question", "raise"]

_NOT_FOUND = re.compile(
    rf"{UNKNOWN}|none|n/?a|not (?:stated|mentioned|given|specified|known|found|provided|available)\b.*"
    r"|(?:i (?:do not|don.t|cannot|can.t)|(?:the|these) documents? do(?:es)?(?: not|n.t))\b.*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Query:
    """What is searched for: a subquestion by its number, references filled in; number 0: the whole question."""

    number: int
    text: str

    @property
    def run_name(self) -> str:
        """What the search is called in a trace."""
        return f"divconq:subquestion-{self.number}" if self.number else "divconq:question"


@dataclass(frozen=True)
class _Step:
    """One call of a part, and the name of its run."""

    part: Runnable[Any, Any]
    input: Any
    name: str

    def config(self, config: RunnableConfig) -> RunnableConfig:
        config = patch_config(config, run_name=self.name)
        # "nostream" keeps plans and readings out of a graph's message stream: they are not part of the answer.
        return {**config, "tags": [*config.get("tags", []), self.name, "nostream"]}


_Stage: TypeAlias = Generator[list[_Step], list[Any], T]
"""Yields steps that may run at once, gets what each returned, and returns a result; trouble comes as a value."""

_TROUBLE = (DecompositionError, ContextOverflowError)


class DecomposedRetriever(BaseRetriever):
    """Retrieves for each subquestion of a question, and for the question itself, with any retriever.

    A subquestion that refers to an earlier one (`#1`) is searched for with the earlier one's answer in that place, read
    by the solver from the documents found for the earlier one. Answers nobody refers to are not asked for. Where an
    answer is not found the reference is dropped and the subquestion's other words are searched for.

    The documents of all searches share the budget `k`: in turn, each subquestion in its order and then the whole
    question gives its best document that is not there yet (by id and by content), until there are `k`. They are copies,
    with the search that gave them as `metadata["divconq"]`: `{"number": 2, "subquestion": "Who was mayor in 1931?"}`;
    number 0 is the whole question. A question that is not divided gives the retriever's own documents, at most `k`.

    Independent subquestions are searched for at once; with `max_concurrency`, one after another, so that a batch has
    never more than that many calls in flight.

    Attributes:
        retriever: Any retriever, or a Runnable from text to documents. It decides how many each search can give.
        solver: What reads: any chat model, or a Runnable that takes messages and returns a message or text.
        decomposer: A `Decomposer`, a chat model to make one of, or any Runnable from `Question` to `Decomposition`;
            default: the bundled one, on this machine. Made here, it divides every question, into four at most.
        k: The most documents to return; `invoke(…, k=…)` replaces it.
        read_k: The most documents the solver reads for one answer: the best of a search, and never more than `k`.
        on_trouble: What happens when the decomposer cannot handle one question, or documents do not fit in the solver's
            context: "whole_question" goes on without subquestions, or without that answer, and says so in the log;
            "raise" raises. A broken set-up always raises.

    Raises:
        InvalidQuestionError: The query is empty.
        ConfigurationError: `k` or `read_k` is below 1, or a part returns something else than it should.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    retriever: RetrieverLike
    solver: Runnable[Any, Any]
    decomposer: Runnable[Any, Any] = Field(default_factory=lambda: Decomposer(max_subquestions=4, gate="always"))
    k: int = 9
    read_k: int = 4
    on_trouble: OnTrouble = "whole_question"

    @field_validator("decomposer", mode="before")
    @classmethod
    def _as_decomposer(cls, value: object) -> object:
        return Decomposer(model=value, max_subquestions=4, gate="always") if is_chat_model(value) else value

    @field_validator("k", "read_k")
    @classmethod
    def _check_k(cls, value: int) -> int:
        if value < 1:
            raise ConfigurationError(f"k or read_k is {value}; it must be at least 1, a number of documents.")
        return value

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of all three parts."""
        parts = (self.decomposer, self.retriever, self.solver)
        return get_unique_config_specs(spec for part in parts for spec in part.config_specs)

    # The base class hands a retriever its callbacks alone; whatever else is in the config has to reach the parts too.

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents for one question."""
        config = ensure_config(config)
        return super().invoke(input, config, call_config=config, **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents for one question, without blocking the event loop."""
        config = ensure_config(config)
        return await super().ainvoke(input, config, call_config=config, **kwargs)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        call_config: RunnableConfig | None = None,
    ) -> list[Document]:
        config = patch_config(call_config, callbacks=run_manager.get_child())
        stage, outputs = self._stage(query, k), None
        while True:
            try:
                steps = next(stage) if outputs is None else stage.send(outputs)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's result is untyped in StopIteration
            if _at_once(steps, config):
                with ContextThreadPoolExecutor(max_workers=len(steps)) as executor:
                    outputs = list(executor.map(partial(_run, config=config), steps))
            else:
                outputs = [_run(step, config) for step in steps]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        call_config: RunnableConfig | None = None,
    ) -> list[Document]:
        config = patch_config(call_config, callbacks=run_manager.get_child())
        stage, outputs = self._stage(query, k), None
        while True:
            try:
                steps = next(stage) if outputs is None else stage.send(outputs)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # as in _get_relevant_documents
            if _at_once(steps, config):
                outputs = await gather(*(_arun(step, config) for step in steps))
            else:
                outputs = [await _arun(step, config) for step in steps]

    def _stage(self, query: str, k: int | None) -> _Stage[list[Document]]:
        k = self.k if k is None else self._check_k(k)
        question = Question.from_input(query)
        plan = yield from self._divide(question)
        subquestions = dict(enumerate(plan.subquestions, start=1))
        referred_to = {earlier for subquestion in plan.subquestions for earlier in references(subquestion)}
        answers: dict[int, str] = {}
        found: dict[int, tuple[Query, list[Document]]] = {}
        ready = [Query(0, question.text)]
        while len(found) <= len(subquestions):
            ready += [
                Query(number, _filled(subquestion, answers))
                for number, subquestion in subquestions.items()
                if number not in found and all(earlier in found for earlier in references(subquestion))
            ]
            outputs = yield [_Step(self.retriever, one.text, one.run_name) for one in ready]
            found.update({one.number: (one, _documents(output)) for one, output in zip(ready, outputs, strict=True)})
            to_read = [
                (one, [document.page_content for document in found[one.number][1][: min(k, self.read_k)]])
                for one in ready
                if one.number in referred_to and answers.keys() >= set(references(subquestions[one.number]))
            ]
            answers |= yield from self._read([(one, texts) for one, texts in to_read if texts])
            ready = []
        return share([found[number] for number in (*subquestions, 0)], k)

    def _divide(self, question: Question) -> _Stage[Decomposition]:
        [plan] = yield [_Step(self.decomposer, question, "divconq:decompose")]
        if isinstance(plan, Exception):
            self._go_on("Searching for the whole question alone, since the decomposer failed", plan)
            return Decomposition(question=question)
        if not isinstance(plan, Decomposition):
            raise ConfigurationError(f"The decomposer must return a Decomposition, got {type(plan).__name__}.")
        return plan

    def _read(self, found: Sequence[tuple[Query, Sequence[str]]]) -> _Stage[dict[int, str]]:
        """Return the answers that the solver finds in documents, by the numbers of their subquestions."""
        steps = [
            _Step(self.solver, reading_prompt(query.text, texts), f"divconq:read-{query.number}")
            for query, texts in found
        ]
        replies = (yield steps) if steps else []
        answers = {}
        for (query, _), reply in zip(found, replies, strict=True):
            if isinstance(reply, Exception):
                self._go_on(f"Going on without an answer to {query.text!r}, since the solver failed", reply)
            elif (answer := parse_reading(as_message(reply).text)) is not None:
                answers[query.number] = answer
        return answers

    def _go_on(self, what: str, error: Exception) -> None:
        if self.on_trouble == "raise":
            raise error
        logger.warning("%s: %s", what, str(error).partition("\n")[0])


def share(found: Iterable[tuple[Query, Sequence[Document]]], k: int) -> list[Document]:
    """Return copies of at most `k` documents, no two alike: each query's best in turn, then each one's next."""
    kept: list[Document] = []
    seen: set[tuple[str, str]] = set()
    turns = deque((query, iter(documents)) for query, documents in found)
    while turns and len(kept) < k:
        query, documents = turns.popleft()
        document = next((document for document in documents if seen.isdisjoint(_identity(document))), None)
        if document is None:
            continue
        seen |= _identity(document)
        origin = {"number": query.number, "subquestion": query.text}
        kept.append(document.model_copy(update={"metadata": {**document.metadata, METADATA_KEY: origin}}))
        turns.append((query, documents))
    return kept


def parse_reading(text: str) -> str | None:
    """Return the answer in a reader's reply; None where it gives none, or says that the documents do not tell."""
    answer = parse_answer(text)
    return None if answer is None or _NOT_FOUND.fullmatch(answer) else answer


def _filled(subquestion: str, answers: dict[int, str]) -> str:
    # In one pass: an answer may itself hold something that looks like a reference.
    known = {number: answers.get(number, "") for number in references(subquestion)}
    return " ".join(fill_references(subquestion, known).split()) or subquestion


def _identity(document: Document) -> set[tuple[str, str]]:
    return {("content", document.page_content)} | (set() if document.id is None else {("id", document.id)})


def _documents(output: object) -> list[Document]:
    if isinstance(output, Exception):
        raise output
    if isinstance(output, list) and all(isinstance(document, Document) for document in output):
        return output
    raise ConfigurationError(f"The retriever must return a list of documents, got {type(output).__name__}.")


def _at_once(steps: Sequence[_Step], config: RunnableConfig) -> bool:
    return len(steps) > 1 and config.get("max_concurrency") is None


def _run(step: _Step, config: RunnableConfig) -> Any:
    try:
        return step.part.invoke(step.input, step.config(config))
    except _TROUBLE as error:
        return error


async def _arun(step: _Step, config: RunnableConfig) -> Any:
    try:
        return await step.part.ainvoke(step.input, step.config(config))
    except _TROUBLE as error:
        return error
