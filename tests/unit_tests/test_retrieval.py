"""Tests of the searches, readings and results of hop-by-hop retrieval."""

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.plans import render_plan
from langchain_divconq.prompts import NO_DECOMPOSITION, UNKNOWN, reading_prompt
from langchain_divconq.retrieval import DecomposedRetriever, Query, Search, fused
from langchain_divconq.retrieval.fusing import Fuse, Hit, within
from langchain_divconq.retrieval.hops import noun_phrase
from langchain_divconq.types import Decomposition, Question, references
from tests.unit_tests.fakes import scripted
from tests.unit_tests.long_bridge import ANSWERS, FILLED, PLAN, QUESTION, SHELF
from tests.unit_tests.shelf import Shelf, asked, both, build, divided, reader, searched, shelf, texts

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
    assert sorted(asked(messages) for messages in reader(retriever).seen) == sorted(ANSWERS)
    unrelated = build(["Who was mayor?", "When was the bridge opened?"], retriever=Shelf(otherwise=["A text."]))
    unrelated.invoke(QUESTION)
    assert reader(unrelated).seen == []


@pytest.mark.parametrize(("k", "read_k"), [(2, 4), (9, 2)])
def test_the_solver_reads_the_best_that_was_found_for_the_subquestion_and_at_most_k(k: int, read_k: int) -> None:
    retriever = build(retriever=Shelf(texts={PLAN[0]: ["one", "two", "three"]}), k=k, read_k=read_k)
    retriever.invoke(QUESTION)
    [messages] = reader(retriever).seen  # nothing was found for the second, so there is nothing to read
    assert messages == reading_prompt(PLAN[0], ["one", "two"])
    assert "[1] one\n\n[2] two\n\nQuestion: Which town" in messages[-1].text


@both
def test_an_answer_that_is_not_found_is_stood_for_by_the_words_of_what_asked_for_it(asynchronous: bool) -> None:
    plan = ["Who was the founder of Lund?", "Where was the father of #1 born?"]
    retriever = build(
        decomposer=divided(plan), retriever=Shelf(otherwise=["A text."]), reader=scripted("I don't know.")
    )
    searched(retriever, QUESTION, asynchronous)
    assert shelf(retriever).seen[2:] == ["Where was the father of the founder of Lund born?"]


def test_the_best_passages_title_stands_for_an_answer_where_there_is_one() -> None:
    plan = ["Who was the founder of Lund?", "Where was the father of #1 born?"]
    titled = Shelf(otherwise=["A text."], titles={"A text.": "Ada Holm (mayor)"})
    retriever = build(decomposer=divided(plan), retriever=titled, reader=scripted("unknown"))
    retriever.invoke(QUESTION)
    assert titled.seen[2:] == ["Where was the father of Ada Holm born?"]


def test_without_a_reader_nothing_is_asked_and_titles_or_words_stand_for_answers() -> None:
    titled = Shelf(titles={SHELF[PLAN[0]][0]: "Lund"})
    found = build(retriever=titled, reader=None).invoke(QUESTION)
    assert titled.seen[3:] == ["Who was mayor of Lund in the long bridge opened?"]
    assert {document.metadata["divconq"]["answer"] for document in found} == {None}


def test_an_answer_that_looks_like_a_reference_stays_as_it_is() -> None:
    plan = ["Which mill is it?", "When was mill #1 built?"]
    retriever = build(decomposer=divided(plan), reader=scripted("Answer: #1\nof 2"))
    retriever.retriever = Shelf(otherwise=["A text."])
    retriever.invoke(QUESTION)
    assert shelf(retriever).seen[2:] == ["When was mill #1 built?"]


def test_a_hash_of_the_users_is_searched_for_as_it_stands() -> None:
    asked_for: Any = {"question": "Who opened it and who closed it?", "context": "Issue #1 has the colour #333333."}
    plan = ["Who opened issue #1?", "Who closed issue #1 after #1?", "Which sites use #333333?"]
    retriever = build(
        decomposer=RunnableLambda(lambda asked: Decomposition(question=asked, subquestions=tuple(plan))),
        retriever=Shelf(otherwise=["A text."]),
        reader=scripted("Answer: Olga"),
    )
    retriever.invoke(asked_for)
    wanted = [asked_for["question"], plan[0], "Who closed issue #1 after Olga?", plan[2]]
    assert sorted(shelf(retriever).seen) == sorted(wanted)


@pytest.mark.parametrize(
    "bare",
    ["#1", "Is #1 greater than #1?", "Are #1 and #2 the same?", "Which is older, #1 or #2?", "Is #1 later than #2?"],
)
def test_what_has_no_words_of_its_own_is_not_searched_for(bare: str) -> None:
    retriever = build([PLAN[0], PLAN[1], bare])
    retriever.invoke(QUESTION)
    assert sorted(shelf(retriever).seen) == sorted([PLAN[0], PLAN[1], QUESTION])


@pytest.mark.parametrize(
    "worded", ["Where is #1?", "#1 的首都在哪里", "Who was mayor of #1?", "Which of #1 and #2 has a mill?"]
)
def test_what_names_something_beside_a_known_answer_is_searched_for(worded: str) -> None:
    retriever = build([PLAN[0], PLAN[1], worded])
    retriever.invoke(QUESTION)
    assert shelf(retriever).seen[3:] == [worded.replace("#1", "Lund").replace("#2", "1931")]


def test_the_same_words_are_searched_for_and_read_once() -> None:
    plan = [PLAN[0], "which town has the LONG bridge", QUESTION, "Who was mayor of #1?", "Who was mayor of #2?"]
    retriever = build(decomposer=divided(plan))
    retriever.invoke(QUESTION)
    assert sorted(shelf(retriever).seen) == sorted([PLAN[0], QUESTION, "Who was mayor of Lund?"])
    assert len(reader(retriever).seen) == 1


@pytest.mark.parametrize(
    ("subquestion", "phrase"),
    [
        ("Who was the founder of Lund?", "the founder of Lund"),
        ("Which town has the long bridge?", "the town that has the long bridge"),
        ("Which town is the largest?", "the town that is the largest"),
        ("What film did Ada Holm make?", "the film that Ada Holm make"),
        ("In which town did Ada Holm die?", "the town in which Ada Holm die"),
        ("In which town is the mill?", "the town in which the mill is"),
        ("What is the capital of Lund?", "the capital of Lund"),
        ("How many people live in Lund?", "people live in Lund"),
        ("Name the mayor.", "Name the mayor."),
        ("Who?", "Who"),
    ],
)
def test_a_question_as_a_phrase_is_what_it_asks_for(subquestion: str, phrase: str) -> None:
    assert noun_phrase(subquestion) == phrase


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
    assert [document.metadata for document in found] == [
        {"divconq": {"number": 0, "subquestion": QUESTION, "answer": None}}
    ] * 3
    assert reader(retriever).seen == []


# What is returned


def test_each_search_gives_its_best_in_turn_and_says_which_it_was_and_what_was_read() -> None:
    found = build().invoke(QUESTION)
    first = {"number": 1, "subquestion": PLAN[0], "answer": "Lund"}
    second = {"number": 2, "subquestion": PLAN[1], "answer": "1931"}
    third = {"number": 3, "subquestion": FILLED, "answer": None}
    whole = {"number": 0, "subquestion": QUESTION, "answer": None}
    assert [(document.page_content, document.metadata["divconq"]) for document in found] == [
        *((SHELF[PLAN[0]][0], first), (SHELF[PLAN[1]][0], second), (SHELF[FILLED][0], third)),
        *((SHELF[QUESTION][0], whole), (SHELF[PLAN[0]][1], first), (SHELF[QUESTION][2], whole)),
    ]


def test_a_search_with_a_missing_answer_comes_after_the_whole_question() -> None:
    found = build(reader=scripted("unknown"), retriever=Shelf(otherwise=["A guess."])).invoke(QUESTION)
    assert [document.metadata["divconq"]["number"] for document in found] == [1, 2, 0, 3, 1, 0]


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("fuse", ["turns", "rrf"])
def test_the_plain_searchs_best_document_is_never_lost(k: int, fuse: Fuse) -> None:
    plan = ["What is the time?", "What is a day?", "Who is it?", "Where is it now?"]
    nonsense = {text: [f"{text} {rank}" for rank in range(5)] for text in plan}
    retriever = build(plan, decomposer=divided(plan), retriever=Shelf(texts={**SHELF, **nonsense}), fuse=fuse)
    found = texts(retriever.invoke(QUESTION, None, k=k))
    assert SHELF[QUESTION][0] in found
    assert len(found) == k


@both
def test_a_plan_that_finds_no_more_gives_exactly_what_the_plain_retriever_gives(asynchronous: bool) -> None:
    same = Shelf(texts={PLAN[0]: ["c", "b"], PLAN[1]: ["b", "c", "a"]}, otherwise=["a", "b", "c"])
    found = searched(build(retriever=same), QUESTION, asynchronous)
    assert texts(found) == ["a", "b", "c"]
    assert {document.metadata["divconq"]["number"] for document in found} == {0}


def test_by_reciprocal_ranks_what_several_searches_find_comes_first() -> None:
    shelves = {PLAN[0]: ["a", "b", "c"], PLAN[1]: ["d", "b"], FILLED: ["e", "b"], QUESTION: ["f", "c"]}
    retriever = build(retriever=Shelf(texts=shelves))
    assert texts(retriever.invoke(QUESTION))[:4] == ["a", "d", "e", "f"]
    assert texts(build(retriever=Shelf(texts=shelves), fuse="rrf").invoke(QUESTION))[:2] == ["b", "c"]


@both
def test_the_budget_can_be_set_for_one_call_and_by_a_configurable_field(asynchronous: bool) -> None:
    whole = build().invoke(QUESTION)
    assert searched(build(k=4), QUESTION, asynchronous) == whole[:4]
    assert searched(build(k=4), QUESTION, asynchronous, k=5) == whole[:5]
    configurable = build().configurable_fields(k=ConfigurableField("k"), gate=ConfigurableField("gate"))
    assert searched(configurable, QUESTION, asynchronous, {"configurable": {"k": 4}}) == whole[:4]
    undivided = searched(configurable, QUESTION, asynchronous, {"configurable": {"gate": "never"}})
    assert texts(undivided) == SHELF[QUESTION]


@both
def test_the_gate_can_be_set_for_one_call(asynchronous: bool) -> None:
    sure = scripted(render_plan(PLAN), logprobs={"1": -0.5, "No": -0.9})
    retriever = build(decomposer=Decomposer(model=sure, gate="always"))
    assert len(searched(retriever, QUESTION, asynchronous)) == 6
    assert texts(searched(retriever, QUESTION, asynchronous, gate=0.3)) == SHELF[QUESTION]
    assert len(searched(retriever, QUESTION, asynchronous, gate=0.5)) == 6
    asked_for = len(sure.seen)
    assert texts(searched(retriever, QUESTION, asynchronous, gate="never")) == SHELF[QUESTION]
    assert len(sure.seen) == asked_for, "a gate that never divides asks nobody"


def test_the_gate_holds_for_a_decomposer_of_another_kind_too() -> None:
    plan = Decomposition(question=Question(text=QUESTION), subquestions=tuple(PLAN), no_decomposition_probability=0.4)
    retriever = build(decomposer=RunnableLambda(lambda _: plan), gate=0.4)
    assert texts(retriever.invoke(QUESTION)) == SHELF[QUESTION]
    assert len(retriever.invoke(QUESTION, None, gate=0.5)) == 6


@pytest.mark.parametrize(
    ("field", "value", "made", "called"),
    [
        *(("gate", gate, "gate", f"gate is {gate}; it must be") for gate in ("sometimes", 1.5, -0.1)),
        *(("k", k, *[f"k or read_k is {k}; it must be at least 1"] * 2) for k in (0, -1)),
    ],
)
def test_a_gate_that_is_none_and_a_budget_below_one_are_refused(field: str, value: Any, made: str, called: str) -> None:
    with pytest.raises(ValueError, match=made):
        build(**{field: value})
    with pytest.raises(ConfigurationError, match=called):
        build().invoke(QUESTION, None, **{field: value})
    with pytest.raises(ValueError, match="k or read_k is 0; it must be at least 1"):
        build(read_k=0)


@both
def test_keyword_arguments_of_a_call_reach_every_search(asynchronous: bool) -> None:
    retriever = build()
    searched(retriever, QUESTION, asynchronous, filter={"year": 1931}, search_kwargs={"k": 2})
    assert shelf(retriever).options == [{"filter": {"year": 1931}, "search_kwargs": {"k": 2}}] * 4


DOCUMENTS = st.builds(
    Document,
    st.sampled_from("abcdefgh"),
    id=st.none() | st.sampled_from("12345"),
    metadata=st.dictionaries(st.sampled_from(["source", "divconq"]), st.integers()),
)
FOUND = st.lists(st.lists(DOCUMENTS, max_size=6), max_size=5).map(
    lambda lists: [Search(Query(number, f"query {number}"), found) for number, found in enumerate(lists)]
)


@given(FOUND, st.sampled_from(["turns", "rrf"]))
def test_fused_searches_hold_every_document_once(found: list[Search], how: Fuse) -> None:
    before = copy.deepcopy(found)
    hits = fused(found, how)
    assert found == before
    contents, ids = [hit.document.page_content for hit in hits], [hit.document.id for hit in hits if hit.document.id]
    assert len(set(contents)) == len(contents)
    assert len(set(ids)) == len(ids)
    everything = [document for search in found for document in search.documents]
    assert all(document.page_content in contents or document.id in ids for document in everything)
    assert all(hit.document in found[hit.query.number].documents for hit in hits)


@given(st.lists(st.integers(0, 7), max_size=5), st.integers(1, 12))
def test_no_search_gets_two_documents_more_than_another_that_has_some_left(counts: list[int], k: int) -> None:
    found = [
        Search(Query(number, "query"), [Document(f"{number}.{rank}") for rank in range(count)])
        for number, count in enumerate(counts)
    ]
    kept = [hit.query.number for hit in fused(found)[:k]]
    got = [kept.count(number) for number in range(len(counts))]
    unspent = [number for number, count in enumerate(counts) if got[number] < count]
    assert all(max(got) - got[number] <= 1 for number in unspent)
    assert len(kept) == min(k, sum(counts))


@given(FOUND, st.integers(1, 12))
def test_a_budget_is_kept_and_the_whole_questions_best_document_is_in_it(found: list[Search], k: int) -> None:
    whole = found[0] if found else Search(Query(0, "query 0"), ())
    kept = within(fused(found), whole, k)
    assert len(kept) <= k
    if whole.documents:
        assert any(Hit(whole.documents[0], whole.query).identity & hit.identity for hit in kept)


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
    def make() -> DecomposedRetriever:
        some = Shelf(texts={QUESTION: list("abcd")}, otherwise=list("cdefgh"), most=most)
        reader = scripted("Answer: blue" if answered else UNKNOWN)
        return build(plan, decomposer=divided(plan), retriever=some, reader=reader, k=k)

    one, other = make(), make()
    found = one.invoke(QUESTION)
    assert found == asyncio.run(other.ainvoke(QUESTION))
    assert sorted(shelf(one).seen) == sorted(shelf(other).seen)
    assert len(shelf(one).seen) == len(set(shelf(one).seen)) <= len(plan) + 1
    assert not any("#" in query for query in shelf(one).seen)
    assert len(found) <= k
    assert len(set(texts(found))) == len(found)
    needed = {n for subquestion in plan for n in references(subquestion)}
    assert len(reader(one).seen) <= len(needed)


def test_the_retrievers_own_documents_are_never_changed() -> None:
    original = Document("The long bridge stands in Lund.", metadata={"source": "a.txt"}, id="1")
    untouched = original.model_copy(deep=True)
    for _ in range(2):
        [found] = build(retriever=RunnableLambda(lambda _: [original])).invoke(QUESTION)
        assert found.metadata == {"source": "a.txt", "divconq": {"number": 0, "subquestion": QUESTION, "answer": None}}
        assert found.id == "1"
    assert original == untouched
