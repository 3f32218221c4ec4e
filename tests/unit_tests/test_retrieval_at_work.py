"""The retriever as LangChain runs it: traces, configuration, batches, what happens at once."""

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.schema import StreamEvent
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.types import Decomposition, Question
from tests.library import QUESTIONS, divide, plain, read
from tests.unit_tests.fakes import Tree, scripted, ticks_during
from tests.unit_tests.long_bridge import FILLED, PLAN, QUESTION, SHELF
from tests.unit_tests.shelf import Shelf, both, build, divided, reader, reading, searched, shelf, texts

# In its surroundings


class TestDecomposedRetriever(RetrieversIntegrationTests):
    """langchain-tests' suite, with scripted models over the library of the examples."""

    retriever_constructor = DecomposedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retriever": plain(4), "reader": scripted(read), "decomposer": RunnableLambda(divide)}

    retriever_query_example = QUESTIONS[0].question


@both
def test_the_run_tree_shows_every_stage_by_name(asynchronous: bool) -> None:
    tree = Tree()
    plan = [PLAN[0], "Who was mayor of #1?"]
    searched(build(plan), QUESTION, asynchronous, {"callbacks": [tree]})
    lines = tree.lines()
    assert lines[:3] == ["DecomposedRetriever (retriever)", "  divconq:decompose (chain)", "    divconq:plan (llm)"]
    first, second = "  divconq:subquestion-1 (chain)", "  divconq:subquestion-2 (chain)"
    search, reading_ = "    Shelf (retriever)", ["  divconq:read-1 (chain)", "    ScriptedModel (llm)"]
    assert sorted(lines[3:7]) == [search, search, "  divconq:question (chain)", first]
    assert lines[7:] == [*reading_, second, search]
    for run in tree.root.child_runs:
        assert {run.name, "nostream", "mine"} - set(run.tags or []) == {"mine"}
    assert tree.root.child_runs[-1].inputs == {"input": "Who was mayor of Lund?"}


@both
def test_the_runs_of_searches_and_readings_carry_plan_gate_and_confidence(asynchronous: bool) -> None:
    tree = Tree()
    plan = Decomposition(question=Question(text=QUESTION), subquestions=tuple(PLAN), confidence=0.8)
    retriever = build(decomposer=RunnableLambda(lambda _: plan), gate=0.75)
    searched(retriever, QUESTION, asynchronous, {"callbacks": [tree]})
    for run in tree.root.child_runs[1:]:
        assert run.metadata["divconq_plan"] == PLAN
        assert run.metadata["divconq_gate"] == 0.75
        assert run.metadata["divconq_confidence"] == 0.8


async def test_the_plan_and_each_hop_are_announced_as_they_come() -> None:
    events: list[StreamEvent] = [event async for event in build().astream_events(QUESTION, version="v2")]
    told: list[tuple[str, Any]] = [
        (event["name"], event["data"]) for event in events if event["event"] == "on_custom_event"
    ]
    [(name, plan), *hops] = told
    assert (name, plan["subquestions"]) == ("divconq_decomposition", PLAN)
    assert [name for name, _ in hops] == ["divconq_hop"] * 4
    found = [(hop["number"], hop["subquestion"], hop["answer"]) for _, hop in hops]
    assert found == [(0, QUESTION, None), (1, PLAN[0], "Lund"), (2, PLAN[1], "1931"), (3, FILLED, None)]
    assert [document["page_content"] for document in hops[1][1]["documents"]] == SHELF[PLAN[0]]
    names = [event["name"] for event in events]
    assert names.index("divconq_hop") < names.index("divconq:subquestion-3"), "not only at the end"


@both
def test_what_is_in_the_config_reaches_the_parts(asynchronous: bool) -> None:
    configurable = Shelf().configurable_fields(most=ConfigurableField("most"))
    retriever = build(retriever=configurable)
    assert [spec.id for spec in retriever.config_specs] == ["most"]
    tree = Tree()
    config: RunnableConfig = {"configurable": {"most": 1}, "tags": ["mine"], "metadata": {"user": "ada"}}
    config |= {"callbacks": [tree], "run_name": "search"}
    assert len(searched(retriever, QUESTION, asynchronous, config)) == 4
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


def test_the_decomposer_that_is_made_here_has_the_settings_that_every_decomposer_has() -> None:
    model = scripted(PLAN[0])
    for made in (DecomposedRetriever(retriever=Shelf(), reader=model), build(decomposer=model)):
        assert isinstance(made.decomposer, Decomposer)
        assert made.decomposer.model_dump(exclude={"model"}) == Decomposer(model).model_dump(exclude={"model"})


# At once, and one after another


@both
def test_independent_subquestions_are_searched_for_and_read_at_once(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.2), reader=scripted(reading, delay=0.2))
    searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).most_in_flight == 3
    assert reader(retriever).most_in_flight == 2
    spans, read_spans = shelf(retriever).spans, reader(retriever).spans
    assert max(end for _, end in read_spans) <= spans[FILLED][0]
    assert max(spans[PLAN[0]][1], spans[PLAN[1]][1]) <= min(start for start, _ in read_spans)


@both
def test_a_subquestion_waits_for_those_alone_that_it_refers_to(asynchronous: bool) -> None:
    plan = ["What is rain?", "What is snow of #1?", "What is ice of #1?", "What is hail of #2?"]
    retriever = build(
        decomposer=divided(plan), retriever=Shelf(otherwise=["A text."], delay=0.1), reader=scripted("Answer: x")
    )
    searched(retriever, QUESTION, asynchronous)
    waves = [{QUESTION, "What is rain?"}, {"What is snow of x?", "What is ice of x?"}, {"What is hail of x?"}]
    seen = shelf(retriever).seen
    assert [set(seen[:2]), set(seen[2:4]), set(seen[4:])] == waves
    assert shelf(retriever).most_in_flight == 2


@both
def test_max_concurrency_is_never_exceeded_in_a_batch(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.01), reader=scripted(reading, delay=0.01))
    config: RunnableConfig = {"max_concurrency": 2}
    expected = build().invoke(QUESTION)
    if asynchronous:
        assert asyncio.run(retriever.abatch([QUESTION] * 5, config)) == [expected] * 5
    else:
        assert retriever.batch([QUESTION] * 5, config) == [expected] * 5
    assert shelf(retriever).most_in_flight == 2
    assert reader(retriever).most_in_flight <= 2


@both
def test_max_concurrency_one_makes_one_call_after_another(asynchronous: bool) -> None:
    retriever = build(retriever=Shelf(delay=0.01), reader=scripted(reading, delay=0.01))
    searched(retriever, QUESTION, asynchronous, {"max_concurrency": 1})
    assert shelf(retriever).most_in_flight == reader(retriever).most_in_flight == 1


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
    slow = build(retriever=Shelf(delay=0.2), reader=scripted(reading, delay=0.2))
    assert await ticks_during(slow.ainvoke(QUESTION)) > 8
