import asyncio
import copy
import logging
import re
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, Runnable, RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import Field, PrivateAttr

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, DecompositionError, InvalidQuestionError
from langchain_divconq.parsing import render_plan
from langchain_divconq.prompts import NO_DECOMPOSITION, UNKNOWN, reading_prompt
from langchain_divconq.retrieval import DecomposedRetriever, Query, parse_reading, share
from langchain_divconq.types import Decomposition, Question, references
from tests.library import LIBRARY, QUESTIONS, divide, names, plain, read
from tests.repository import ROOT
from tests.unit_tests.fakes import ScriptedModel, failing, scripted

QUESTION = "Who was mayor of the town of the long bridge when it was opened?"
PLAN = ["Which town has the long bridge?", "When was the long bridge opened?", "Who was mayor of #1 in #2?"]
FILLED = "Who was mayor of Lund in 1931?"
SHELF = {
    PLAN[0]: ["The long bridge stands in Lund.", "Lund has a mill."],
    PLAN[1]: ["The long bridge was opened in 1931.", "The long bridge stands in Lund."],
    FILLED: ["Ada Holm was mayor of Lund in 1931.", "Lund has a mill."],
    QUESTION: ["A mayor opens bridges.", "Lund has a mill.", "Towns are old."],
}
ANSWERS = {PLAN[0]: "Lund", PLAN[1]: "1931"}


class Shelf(BaseRetriever):
    """Gives the texts that lie ready for a query, and watches how it is asked."""

    texts: dict[str, list[str]] = Field(default_factory=lambda: SHELF)
    otherwise: list[str] = Field(default_factory=list)
    most: int = 9
    delay: float = 0.0
    error: Exception | None = None
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
        if self.error is not None:
            raise self.error
        return [Document(text) for text in self.texts.get(query, self.otherwise)[: self.most]]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        start = self._begin(query)
        time.sleep(self.delay)
        return self._end(query, start)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        start = self._begin(query)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._end(query, start)


class Tree(BaseTracer):
    """Keeps the runs of a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.root: Run | None = None

    def _persist_run(self, run: Run) -> None:
        self.root = run

    def lines(self) -> list[str]:
        def walk(run: Run, depth: int) -> list[str]:
            return [f"{'  ' * depth}{run.name} ({run.run_type})"] + [
                line for child in run.child_runs for line in walk(child, depth + 1)
            ]

        assert self.root is not None
        return walk(self.root, 0)


def asked(messages: list[BaseMessage]) -> str:
    """The subquestion that a reading prompt asks."""
    match = re.search(r"^Question: (.*)$", messages[-1].text, re.MULTILINE)
    assert match is not None
    return match[1]


def reading(messages: list[BaseMessage]) -> str:
    return f"Answer: {ANSWERS.get(asked(messages), UNKNOWN)}"


def build(plan: list[str] = PLAN, **fields: Any) -> DecomposedRetriever:
    """Return a retriever over a scripted decomposer, a scripted solver and a shelf."""
    fields = {"retriever": Shelf(), "solver": scripted(reading), "decomposer": scripted(render_plan(plan)), **fields}
    return DecomposedRetriever(**fields)


def shelf(retriever: DecomposedRetriever) -> Shelf:
    assert isinstance(retriever.retriever, Shelf)
    return retriever.retriever


def solver(retriever: DecomposedRetriever) -> ScriptedModel:
    assert isinstance(retriever.solver, ScriptedModel)
    return retriever.solver


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def searched(retriever: Any, question: str, asynchronous: bool, config: RunnableConfig | None = None) -> list[Document]:
    """Search with or without an event loop."""
    found = asyncio.run(retriever.ainvoke(question, config)) if asynchronous else retriever.invoke(question, config)
    assert isinstance(found, list)
    return found


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


# What is searched for and read


@both
def test_a_subquestion_is_searched_for_with_the_answers_it_refers_to(asynchronous: bool) -> None:
    retriever = build()
    found = searched(retriever, QUESTION, asynchronous)
    assert set(shelf(retriever).seen[:3]) == {PLAN[0], PLAN[1], QUESTION}
    assert shelf(retriever).seen[3:] == [FILLED]
    assert "Ada Holm was mayor of Lund in 1931." in texts(found)


def test_only_answers_that_are_referred_to_are_asked_for() -> None:
    retriever = build()
    retriever.invoke(QUESTION)
    assert sorted(asked(messages) for messages in solver(retriever).seen) == sorted(ANSWERS)
    unrelated = build(["Who was mayor?", "When was the bridge opened?"], retriever=Shelf(otherwise=["A text."]))
    unrelated.invoke(QUESTION)
    assert solver(unrelated).seen == []


@pytest.mark.parametrize(("k", "read_k"), [(2, 4), (9, 2)])
def test_the_solver_reads_the_best_that_was_found_for_the_subquestion_and_at_most_k(k: int, read_k: int) -> None:
    retriever = build(retriever=Shelf(texts={PLAN[0]: ["one", "two", "three"]}), k=k, read_k=read_k)
    retriever.invoke(QUESTION)
    [messages] = solver(retriever).seen  # nothing was found for the second, so there is nothing to read
    assert messages == reading_prompt(PLAN[0], ["one", "two"])
    assert "[1] one\n\n[2] two\n\nQuestion: Which town" in messages[-1].text


@both
def test_a_reference_without_an_answer_is_dropped_and_its_subquestion_not_read(asynchronous: bool) -> None:
    plan = ["Which town has the long bridge?", "Who was mayor of #1?", "Where was #2 born?"]
    retriever = build(plan, retriever=Shelf(otherwise=["A text."]), solver=scripted("I don't know."))
    searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).seen[2:] == ["Who was mayor of ?", "Where was born?"]
    assert [asked(messages) for messages in solver(retriever).seen] == [plan[0]]


def test_what_is_known_is_filled_in_where_another_answer_is_missing() -> None:
    retriever = build(solver=scripted(lambda messages: f"Answer: {'Lund' if asked(messages) == PLAN[0] else UNKNOWN}"))
    retriever.invoke(QUESTION)
    assert shelf(retriever).seen[3:] == ["Who was mayor of Lund in ?"]


def test_an_answer_that_looks_like_a_reference_stays_as_it_is() -> None:
    retriever = build(["Which mill is it?", "When was mill #1 built?"], solver=scripted("Answer: #1\nof 2"))
    retriever.retriever = Shelf(otherwise=["A text."])
    retriever.invoke(QUESTION)
    assert shelf(retriever).seen[2:] == ["When was mill #1 built?"]


def test_a_subquestion_of_nothing_but_references_is_searched_for_as_it_is() -> None:
    retriever = build(["Which mill is it?", "#1"])
    retriever.invoke(QUESTION)
    assert shelf(retriever).seen[2:] == ["#1"]


@both
@pytest.mark.parametrize(
    "decomposer", [scripted(NO_DECOMPOSITION), RunnableLambda(lambda q: Decomposition(question=q))]
)
def test_an_undivided_question_gives_what_the_plain_retriever_gives(
    decomposer: Runnable[Any, Any], asynchronous: bool
) -> None:
    retriever = build(decomposer=decomposer)
    found = searched(retriever, QUESTION, asynchronous)
    assert texts(found) == texts(Shelf().invoke(QUESTION)) == SHELF[QUESTION]
    assert [document.metadata for document in found] == [{"divconq": {"number": 0, "subquestion": QUESTION}}] * 3
    assert solver(retriever).seen == []


# What is returned


def test_each_search_gives_its_best_in_turn_and_says_which_it_was() -> None:
    found = build().invoke(QUESTION)
    assert [(document.page_content, document.metadata["divconq"]) for document in found] == [
        (SHELF[PLAN[0]][0], {"number": 1, "subquestion": PLAN[0]}),
        (SHELF[PLAN[1]][0], {"number": 2, "subquestion": PLAN[1]}),
        (SHELF[FILLED][0], {"number": 3, "subquestion": FILLED}),
        (SHELF[QUESTION][0], {"number": 0, "subquestion": QUESTION}),
        (SHELF[PLAN[0]][1], {"number": 1, "subquestion": PLAN[0]}),
        (SHELF[QUESTION][2], {"number": 0, "subquestion": QUESTION}),
    ]


@both
def test_the_budget_is_kept_and_can_be_changed_for_one_call(asynchronous: bool) -> None:
    retriever = build(k=4)
    whole = build().invoke(QUESTION)
    assert searched(retriever, QUESTION, asynchronous) == whole[:4]
    if asynchronous:
        assert asyncio.run(retriever.ainvoke(QUESTION, None, k=2)) == whole[:2]
    else:
        assert retriever.invoke(QUESTION, None, k=2) == whole[:2]


@pytest.mark.parametrize("k", [0, -1])
def test_a_budget_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k or read_k is {k}; it must be at least 1"):
        build(k=k)
    with pytest.raises(ConfigurationError, match=f"k or read_k is {k}; it must be at least 1"):
        build().invoke(QUESTION, None, k=k)
    with pytest.raises(ValueError, match=f"k or read_k is {k}; it must be at least 1"):
        build(read_k=k)


DOCUMENTS = st.builds(
    Document,
    st.sampled_from("abcdefgh"),
    id=st.none() | st.sampled_from("12345"),
    metadata=st.dictionaries(st.sampled_from(["source", "divconq"]), st.integers()),
)
FOUND = st.lists(st.lists(DOCUMENTS, max_size=6), max_size=5).map(
    lambda lists: [(Query(number, f"query {number}"), documents) for number, documents in enumerate(lists)]
)


@given(FOUND, st.integers(1, 12))
def test_a_shared_budget_is_never_exceeded_and_holds_no_document_twice(
    found: list[tuple[Query, list[Document]]], k: int
) -> None:
    before = copy.deepcopy(found)
    kept = share(found, k)
    assert found == before
    assert len(kept) <= k
    contents, ids = texts(kept), [document.id for document in kept if document.id is not None]
    assert len(set(contents)) == len(contents)
    assert len(set(ids)) == len(ids)
    if len(kept) < k:  # then everything is there, under its content or its id
        everything = [document for _, documents in found for document in documents]
        assert all(document.page_content in contents or document.id in ids for document in everything)
    for document in kept:
        origin = document.metadata["divconq"]
        others = {name: value for name, value in document.metadata.items() if name != "divconq"}
        assert any(
            (document.page_content, document.id) == (original.page_content, original.id)
            and others == {name: value for name, value in original.metadata.items() if name != "divconq"}
            for original in found[origin["number"]][1]
        )
    assert share(found, k + 1)[: len(kept)] == kept


@given(st.lists(st.integers(0, 7), max_size=5), st.integers(1, 12))
def test_no_search_gets_two_documents_more_than_another_that_has_some_left(counts: list[int], k: int) -> None:
    found = [
        (Query(number, "query"), [Document(f"{number}.{rank}") for rank in range(count)])
        for number, count in enumerate(counts)
    ]
    kept = [document.metadata["divconq"]["number"] for document in share(found, k)]
    got = [kept.count(number) for number in range(len(counts))]
    unspent = [number for number, count in enumerate(counts) if got[number] < count]
    assert all(max(got) - got[number] <= 1 for number in unspent)
    assert len(kept) == min(k, sum(counts))


@st.composite
def plans(draw: st.DrawFn) -> list[str]:
    plan = []
    for number in range(1, draw(st.integers(0, 9)) + 1):
        earlier = draw(st.lists(st.integers(1, number - 1), max_size=2)) if number > 1 else []
        plan.append(" ".join([f"What is part {number} of", *(f"#{n}" for n in earlier), "there?"]))
    return plan


@given(plans(), st.integers(1, 12), st.integers(0, 6), st.booleans())
def test_whatever_the_plan_the_budget_holds_and_async_finds_the_same(
    plan: list[str], k: int, most: int, answered: bool
) -> None:
    decomposition = Decomposition(question=Question(text=QUESTION), subquestions=tuple(plan))

    def make() -> DecomposedRetriever:
        return build(
            decomposer=RunnableLambda(lambda _: decomposition),
            retriever=Shelf(texts={QUESTION: list("abcd")}, otherwise=list("cdefgh"), most=most),
            solver=scripted("Answer: blue" if answered else UNKNOWN),
            k=k,
        )

    one, other = make(), make()
    found = one.invoke(QUESTION)
    assert found == asyncio.run(other.ainvoke(QUESTION))
    assert sorted(shelf(one).seen) == sorted(shelf(other).seen)
    assert len(shelf(one).seen) == len(plan) + 1
    assert not any("#" in query for query in shelf(one).seen)
    assert len(found) <= k
    assert len(set(texts(found))) == len(found)
    needed = {n for subquestion in plan for n in references(subquestion)}
    assert len(solver(one).seen) <= len(needed)


def test_the_retrievers_own_documents_are_never_changed() -> None:
    original = Document("The long bridge stands in Lund.", metadata={"source": "a.txt"}, id="1")
    untouched = original.model_copy(deep=True)
    for _ in range(2):
        [found] = build(retriever=RunnableLambda(lambda _: [original])).invoke(QUESTION)
        assert found.metadata == {"source": "a.txt", "divconq": {"number": 1, "subquestion": PLAN[0]}}
        assert found.id == "1"
    assert original == untouched


# In its surroundings


class TestDecomposedRetriever(RetrieversIntegrationTests):
    """langchain-tests' suite, with scripted models over the library of the examples."""

    @property
    def retriever_constructor(self) -> type[DecomposedRetriever]:
        return DecomposedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retriever": plain(4), "solver": scripted(read), "decomposer": RunnableLambda(divide)}

    @property
    def retriever_query_example(self) -> str:
        return QUESTIONS[0].question


@both
def test_the_run_tree_shows_every_stage_by_name(asynchronous: bool) -> None:
    tree = Tree()
    plan = [PLAN[0], "Who was mayor of #1?"]
    searched(build(plan), QUESTION, asynchronous, {"callbacks": [tree]})
    lines = tree.lines()
    assert lines[:3] == ["DecomposedRetriever (retriever)", "  divconq:decompose (chain)", "    divconq:plan (llm)"]
    assert sorted(lines[3:5]) == ["  divconq:question (retriever)", "  divconq:subquestion-1 (retriever)"]
    assert lines[5:] == ["  divconq:read-1 (llm)", "  divconq:subquestion-2 (retriever)"]
    assert tree.root is not None
    for run in tree.root.child_runs:
        assert {run.name, "nostream", "mine"} - set(run.tags or []) == {"mine"}
    assert tree.root.child_runs[-1].inputs == {"query": "Who was mayor of Lund?"}


@both
def test_what_is_in_the_config_reaches_the_parts(asynchronous: bool) -> None:
    configurable = Shelf().configurable_fields(most=ConfigurableField("most"))
    retriever = build(retriever=configurable)
    assert [spec.id for spec in retriever.config_specs] == ["most"]
    tree = Tree()
    config: RunnableConfig = {
        "configurable": {"most": 1},
        "tags": ["mine"],
        "metadata": {"user": "ada"},
        "callbacks": [tree],
        "run_name": "search",
    }
    assert len(searched(retriever, QUESTION, asynchronous, config)) == 4
    assert tree.root is not None
    assert tree.root.name == "search"
    for run in tree.root.child_runs:
        assert run.name != "search"
        assert "mine" in (run.tags or [])
        assert run.metadata["user"] == "ada"
    in_a_chain = {"found": retriever, "question": RunnablePassthrough()} | RunnableLambda(lambda value: value["found"])
    assert len(searched(in_a_chain, QUESTION, asynchronous, {"configurable": {"most": 1}})) == 4
    assert len(searched(in_a_chain, QUESTION, asynchronous)) == 6


def test_a_question_with_context_is_taken_as_elsewhere() -> None:
    small = scripted(NO_DECOMPOSITION)
    question: Any = {"question": QUESTION, "context": "It is Monday."}
    assert texts(build(decomposer=small).invoke(question)) == SHELF[QUESTION]
    assert "It is Monday." in small.seen[0][-1].text


def test_the_decomposer_that_is_made_here_divides_every_question_into_four_at_most() -> None:
    model = scripted(PLAN[0])
    for made in (DecomposedRetriever(retriever=Shelf(), solver=model), build(decomposer=model)):
        assert isinstance(made.decomposer, Decomposer)
        assert (made.decomposer.max_subquestions, made.decomposer.gate) == (4, "always")


def test_a_batch_gives_what_single_calls_give() -> None:
    retriever = build()
    expected = [retriever.invoke(QUESTION)] * 3
    assert retriever.batch([QUESTION] * 3) == expected
    assert asyncio.run(retriever.abatch([QUESTION] * 3)) == expected


# At once, and one after another


@both
def test_independent_subquestions_are_searched_for_and_read_at_once(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.05), solver=scripted(reading, delay=0.05))
    searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).most_in_flight == 3
    assert solver(retriever).most_in_flight == 2
    spans, read_spans = shelf(retriever).spans, solver(retriever).spans
    assert max(end for _, end in read_spans) <= spans[FILLED][0]
    assert max(spans[PLAN[0]][1], spans[PLAN[1]][1]) <= min(start for start, _ in read_spans)


@both
def test_a_subquestion_waits_for_those_alone_that_it_refers_to(asynchronous: bool) -> None:
    plan = ["What is a?", "What is b of #1?", "What is c of #1?", "What is d of #2?"]
    decomposition = Decomposition(question=Question(text=QUESTION), subquestions=tuple(plan))
    retriever = build(
        decomposer=RunnableLambda(lambda _: decomposition),
        retriever=Shelf(otherwise=["A text."], delay=0.02),
        solver=scripted("Answer: x"),
    )
    searched(retriever, QUESTION, asynchronous)
    waves = [{QUESTION, "What is a?"}, {"What is b of x?", "What is c of x?"}, {"What is d of x?"}]
    seen = shelf(retriever).seen
    assert [set(seen[:2]), set(seen[2:4]), set(seen[4:])] == waves
    assert shelf(retriever).most_in_flight == 2


@both
def test_max_concurrency_is_never_exceeded_in_a_batch(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.01), solver=scripted(reading, delay=0.01))
    config: RunnableConfig = {"max_concurrency": 2}
    expected = build().invoke(QUESTION)
    if asynchronous:
        assert asyncio.run(retriever.abatch([QUESTION] * 5, config)) == [expected] * 5
    else:
        assert retriever.batch([QUESTION] * 5, config) == [expected] * 5
    assert shelf(retriever).most_in_flight == 2
    assert solver(retriever).most_in_flight <= 2


@both
def test_max_concurrency_one_makes_one_call_after_another(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.01), solver=scripted(reading, delay=0.01))
    searched(retriever, QUESTION, asynchronous, {"max_concurrency": 1})
    assert shelf(retriever).most_in_flight == solver(retriever).most_in_flight == 1


async def test_cancelling_cancels_the_searches_under_way() -> None:
    retriever = build(retriever=Shelf(delay=30))
    task = asyncio.ensure_future(retriever.ainvoke(QUESTION))
    while len(shelf(retriever).seen) < 3:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shelf(retriever).cancelled == 3


async def test_the_event_loop_is_never_blocked() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    await build(retriever=Shelf(delay=0.03), solver=scripted(reading, delay=0.03)).ainvoke(QUESTION)
    ticker.cancel()
    assert ticks > 8


# Trouble


class Overflow(ContextOverflowError):
    """A provider's own."""


@both
@pytest.mark.parametrize("decomposer", [scripted("Well."), failing(Overflow("too long\nby far"))])
def test_trouble_with_the_decomposer_searches_for_the_whole_question_and_says_so(
    decomposer: ScriptedModel, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="langchain_divconq"):
        found = searched(build(decomposer=decomposer), QUESTION, asynchronous)
    assert texts(found) == SHELF[QUESTION]
    assert "Searching for the whole question alone, since the decomposer failed: " in caplog.text
    assert "by far" not in caplog.text
    with pytest.raises((DecompositionError, Overflow)):
        searched(build(decomposer=decomposer, on_trouble="raise"), QUESTION, asynchronous)


@both
def test_documents_that_do_not_fit_leave_their_subquestion_without_an_answer(
    asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def read_one(messages: list[BaseMessage]) -> str:
        if asked(messages) == PLAN[0]:
            raise Overflow("too long")
        return reading(messages)

    retriever = build(solver=scripted(read_one))
    with caplog.at_level(logging.WARNING, logger="langchain_divconq"):
        searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).seen[3:] == ["Who was mayor of in 1931?"]
    assert "Going on without an answer to 'Which town has the long bridge?', since the solver failed" in caplog.text
    with pytest.raises(Overflow, match="too long"):
        searched(build(solver=scripted(read_one), on_trouble="raise"), QUESTION, asynchronous)


@both
@pytest.mark.parametrize("broken", ["decomposer", "solver", "retriever"])
def test_a_broken_part_raises_its_own_error(broken: str, asynchronous: bool) -> None:
    error = PermissionError("no key")
    part: dict[str, Any] = {broken: Shelf(error=error) if broken == "retriever" else failing(error)}
    tree = Tree()
    with pytest.raises(PermissionError, match="no key"):
        searched(build(**part), QUESTION, asynchronous, {"callbacks": [tree]})
    assert tree.root is not None
    assert "no key" in (tree.root.error or "")


def test_a_retriever_in_trouble_is_never_passed_over() -> None:
    with pytest.raises(Overflow, match="too long"):
        build(retriever=Shelf(error=Overflow("too long"))).invoke(QUESTION)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"decomposer": RunnableLambda(lambda _: "1. Who?")}, "decomposer must return a Decomposition, got str"),
        ({"retriever": RunnableLambda(lambda _: "a text")}, "retriever must return a list of documents, got str"),
        ({"retriever": RunnableLambda(lambda _: ["a text"])}, "retriever must return a list of documents, got list"),
        ({"solver": RunnableLambda(lambda _: 7)}, "model must return a message or text, got int"),
    ],
)
def test_a_part_that_returns_something_else_is_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(**part).invoke(QUESTION)


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(InvalidQuestionError, match="question is empty"):
        build().invoke(" ")


# What a reader says


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: Ada Holm", "Ada Holm"),
        ("It says so.\nAnswer: **Ada Holm**.", "Ada Holm"),
        ("Ada Holm", "Ada Holm"),
        ("Answer: Unknown Harbour", "Unknown Harbour"),
        ("Answer: Nonesuch", "Nonesuch"),
        ("Answer: Not Far From Here", "Not Far From Here"),
        ("Answer: unknown", None),
        ("Answer: Unknown.", None),
        ("Answer: None", None),
        ("Answer: N/A", None),
        ("Answer: not stated in the documents", None),
        ("Answer: Not given.", None),
        ("I don't know.", None),
        ("Answer: I cannot tell from these.", None),
        ("Answer: The documents do not mention it.", None),
        ("Answer: These documents don\u2019t say", None),
        ("", None),
        ("Answer:", None),
        ("The bridge is long. " * 20, None),
    ],
)
def test_a_reading_gives_its_answer_or_none(reply: str, answer: str | None) -> None:
    assert parse_reading(reply) == answer


@given(st.text())
def test_any_text_can_be_a_reading(text: str) -> None:
    answer = parse_reading(text)
    assert answer is None or answer.strip()


def test_the_reading_prompt_says_what_to_write_where_nothing_is_found() -> None:
    [message] = reading_prompt("Who?", ["{a}", "b"])
    assert message.text.startswith("Documents:\n\n[1] {a}\n\n[2] b\n\nQuestion: Who?\n\n")
    sentinel = re.search(r"'(Answer: [^']+)'\.$", message.text)
    assert sentinel is not None
    assert parse_reading(sentinel[1]) is None


# The library of the examples


def test_every_plan_of_the_library_is_written_for_passages_that_are_there() -> None:
    passages = {path.stem: " ".join(path.read_text(encoding="utf-8").split()) for path in LIBRARY.glob("*.txt")}
    for question in QUESTIONS:
        assert len(question.answers) == len(question.subquestions) <= 3
        assert len(set(question.passages)) == max(1, len(question.subquestions))
        for answer, name in zip(question.answers, question.passages, strict=False):
            assert answer in passages[name]
            assert answer not in question.question


def compared(k: int) -> list[tuple[str, int, int, int]]:
    """Question, passages it needs, and how many of them the plain retriever and ours find within the same budget."""
    retriever = DecomposedRetriever(
        retriever=plain(k), solver=scripted(read), decomposer=RunnableLambda(divide), k=k, on_trouble="raise"
    )
    rows = []
    for question in QUESTIONS:
        needed = set(question.passages)
        before, after = plain(k).invoke(question.question), retriever.invoke(question.question)
        assert max(len(before), len(after)) <= k
        found = [len(needed & set(names(documents))) for documents in (before, after)]
        rows.append((question.question, len(needed), found[0], found[1]))
    return rows


@pytest.mark.parametrize("k", [3, 4, 5])
def test_hop_by_hop_all_passages_are_found_where_the_plain_retriever_misses_some(k: int) -> None:
    for question, needed, before, after in compared(k):
        assert after == needed, question
        assert (before < needed) == (needed > 1), question


def test_the_readme_shows_what_both_find() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [
        f"| {question} | {before} of {needed} | {after} of {needed} |"
        for question, needed, before, after in compared(4)
    ]
    match = re.search(r"<!-- retrieval -->\n.*?\| ---.*?\|\n(.*?)<!-- /retrieval -->", readme, re.DOTALL)
    assert match is not None, "README.md has no retrieval table."
    assert match[1].strip().splitlines() == rows
