"""The chain takes what LangChain's users have at hand, and nothing that was paid for is lost to an odd reply."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_divconq.agents import DecomposeTool, DivideAndConquerTool
from langchain_divconq.budget import Budget, Pool
from langchain_divconq.calls import as_message
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, GenerationCancelled
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.retrieval import BM25, DecomposedRetriever
from langchain_divconq.solver import Solver
from langchain_divconq.types import METADATA_KEY, Decomposition, Question, Solution
from langchain_divconq.usage import Price
from tests.unit_tests.chains import MODES, every_way, run
from tests.unit_tests.fakes import PLAN, QUESTION, Structuring, scripted


def build(solver: Any, **options: Any) -> DivideAndConquer:
    return DivideAndConquer(solver=solver, decomposer=scripted(PLAN), **options)


# What goes in


@every_way
def test_what_a_retriever_finds_is_a_context_and_other_keys_are_ignored(how: str) -> None:
    def search(_: str) -> list[Document]:
        return [Document("The boxes are full."), Document("It is Monday.")]

    given = {"context": RunnableLambda(search), "question": RunnablePassthrough(), "chat_history": lambda _: []}
    answered: Any = given | build(scripted("Answer: 29"))
    question = Solution.from_message(run(answered, how)).decomposition.question
    assert question == Question(text=QUESTION, context="The boxes are full.\n\nIt is Monday.")


def test_a_solver_may_stand_alone_and_go_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[str, dict[str, Any]]] = []

    def init(name: str, **settings: Any) -> BaseChatModel:
        named.append((name, settings))
        return scripted("Answer: 29")

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init)
    for chain in (
        DivideAndConquer("openai:gpt-5-mini", decomposer=scripted(PLAN)),
        build("openai:gpt-5-mini"),
        build(Solver(model="openai:gpt-5-mini")),  # type: ignore[arg-type]  # pydantic reads the name
        DivideAndConquer(scripted("Answer: 29"), decomposer=scripted(PLAN)),
    ):
        assert Solution.from_message(chain.invoke(QUESTION)).answer == "29"
    assert named == [("openai:gpt-5-mini", {})] * 3


@pytest.mark.parametrize("name", ["nobody:gpt", "openai:gpt-5-mini", "?"])
def test_a_name_that_stands_for_no_model_is_refused_in_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=f"solver {name!r} cannot be set up: ".replace("?", r"\?")):
        DivideAndConquer(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "sequential"}, r"mode is no option of the chain, but of its solver: .*solver=Solver\(mode=…"),
        ({"structured": True}, r"structured is no option.*Solver\(structured=…"),
        ({"gate": 0.5}, r"gate is no option of the chain, but of its decomposer: .*decomposer=Decomposer\(gate=…"),
        ({"max_subquestions": 2}, r"Decomposer\(max_subquestions=…"),
    ],
)
def test_an_option_of_a_part_is_refused_with_the_place_where_it_belongs(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        DivideAndConquer(scripted("x"), **options)


@pytest.mark.parametrize(("solvers", "options"), [((scripted("x"),) * 2, {}), ((scripted("x"),), {"solver": 1})])
def test_two_solvers_are_refused(solvers: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="There are several solvers; pass one"):
        DivideAndConquer(*solvers, **options)


# LangChain's serialisation


def named_openai() -> Any:
    openai = pytest.importorskip("langchain_openai")
    return openai.ChatOpenAI(model="gpt-5-mini", api_key="not-a-key")


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_what_is_made_of_parts_that_can_be_written_is_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    solver = Solver(model=named_openai(), mode="sequential", price=Price(input=1, output=2))
    decomposer = Decomposer(model=named_openai(), gate=0.5)
    for chain in (
        DivideAndConquer(solver=solver),
        DivideAndConquer(solver=solver, decomposer=decomposer, budget=Budget(tokens=9), on_trouble="raise"),
    ):
        manifest = json.loads(json.dumps(dumpd(chain)))
        assert "not-a-key" not in str(manifest)
        made: Any = [DivideAndConquer, Solver, Decomposer, type(solver.model)]
        read = load(manifest, allowed_objects=made, valid_namespaces=["langchain_divconq"], secrets_from_env=True)
        assert dumpd(read) == manifest


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (lambda: Decomposer(model=ChatGGUF()), "The model of this Decomposer, a ChatGGUF, cannot be written"),
        (lambda: build(scripted("x")), "The model of this Decomposer, a ScriptedModel"),
        (
            lambda: Solver(model=named_openai(), mode="sequential", subsolver=lambda subquestion, question: None),
            "The subsolver of this Solver, a <lambda>, cannot be written",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(thing: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        dumpd(thing())


@pytest.mark.parametrize(
    "thing",
    [
        ChatGGUF(),
        DecomposedRetriever(retriever=BM25(documents=[Document("A ship.")])),
        DecomposeTool(),
        DivideAndConquerTool(chain=build(scripted("x"))),
    ],
    ids=["model", "retriever", "tool", "tool of a chain"],
)
def test_models_retrievers_and_tools_are_written_as_not_implemented(thing: Any) -> None:
    assert dumpd(thing)["type"] == "not_implemented"


# Typed answers


class Pens(BaseModel):
    """Pens that are left."""

    count: int
    colour: str = "blue"


@every_way
@pytest.mark.parametrize("mode", MODES)
def test_a_final_answer_may_have_a_schema_of_ones_own(mode: Any, how: str) -> None:
    chain = build(Solver(model=Structuring(reply=lambda _: '{"count": 29}'), mode=mode))
    assert run(chain.with_structured_output(Pens), how) == Pens(count=29)
    found = run(chain.with_structured_output(Pens, include_raw=True), how)
    assert (found["parsed"], found["parsing_error"]) == (Pens(count=29), None)
    assert Solution.from_message(found["raw"]).answer == '{"count":29,"colour":"blue"}'


class PensDict(TypedDict):
    """Pens that are left."""

    count: int


@pytest.mark.parametrize("schema", [PensDict, Pens.model_json_schema()], ids=["TypedDict", "JSON schema"])
def test_of_another_kind_of_schema_answers_are_dicts(schema: Any) -> None:
    chain = build(Structuring(reply=lambda _: '{"count": 29}'))
    assert chain.with_structured_output(schema).invoke(QUESTION) == {"count": 29}


def test_an_answer_that_is_no_json_is_an_error_and_none_in_the_solution() -> None:
    chain = build(Structuring(reply=lambda _: "I cannot tell."))
    found = chain.with_structured_output(Pens, include_raw=True).invoke(QUESTION)
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], ValueError)
    assert Solution.from_message(found["raw"]).answer is None
    with pytest.raises(ValueError, match="I cannot tell"):
        chain.with_structured_output(Pens).invoke(QUESTION)


def test_typed_answers_need_a_model_that_has_structured_output() -> None:
    no_model: Any = RunnableLambda(lambda _: "x")
    with pytest.raises(ConfigurationError, match="Structured answers need a model with with_structured_output"):
        build(no_model).with_structured_output(Pens)
    either = Solver(model=scripted("x")).configurable_fields(mode=ConfigurableField(id="mode"))
    with pytest.raises(ConfigurationError, match="Which Solver runs is configured per call"):
        build(either).with_structured_output(Pens)


# Odd replies


@every_way
def test_a_chain_may_be_another_chains_solver(how: str) -> None:
    inner = build(scripted("So it is.\nAnswer: 29"))
    solution = Solution.from_message(run(build(Solver(model=inner, mode="sequential")), how))
    assert solution.answer == "29"
    assert solution.mode == "sequential"
    assert solution.usage.solve.calls == 3


@every_way
def test_a_solution_in_a_models_own_metadata_is_not_taken_for_the_chains(how: str) -> None:
    def reply(_: object) -> AIMessage:
        return AIMessage("Answer: 29", response_metadata={METADATA_KEY: {"answer": "8"}, "model_name": "inner"})

    model: Any = RunnableLambda(reply)
    message = run(build(model), how)
    assert Solution.from_message(message).answer == "29"
    assert message.response_metadata["model_name"] == "inner"


@every_way
@pytest.mark.parametrize(
    ("written", "read"), [("29 \ud83d", "29 \ufffd"), ("\udce9 29", "\ufffd 29"), ("29 \ud83d\ude00", "29 \U0001f600")]
)
def test_halves_of_surrogate_pairs_are_put_together_or_replaced(how: str, written: str, read: str) -> None:
    text: Any = RunnableLambda(lambda _: f"Answer: {written}")
    assert Solution.from_message(run(build(text), how)).answer == read
    for mode in MODES:
        solver = Solver(model=scripted(f"Well.\nAnswer: {written}"), mode=mode)  # type: ignore[arg-type]
        solution = Solution.from_message(run(build(solver), how))
        assert solution.answer == read
        assert all(known.answer == read for known in solution.subanswers or ())
        assert Solution.model_validate_json(solution.model_dump_json()) == solution
        json.dumps(solution.model_dump(mode="json"), ensure_ascii=False).encode()


@pytest.mark.parametrize("piece", [str, AIMessage, lambda text: AIMessageChunk(content=text)])
def test_a_surrogate_pair_may_be_streamed_in_halves(piece: Any) -> None:
    class Halves(RunnableLambda[Any, Any]):
        def stream(self, *_: Any, **__: Any) -> Any:
            yield from map(piece, ("Answer: \ud83d", "\ude00"))

    chain = build(Halves(lambda _: "Answer: x"))
    assert Solution.from_message(list(chain.stream(QUESTION))[-1]).answer == "\U0001f600"


def test_text_in_blocks_is_cleaned_too() -> None:
    blocks: list[str | dict[Any, Any]] = ["a\ud83d", {"type": "text", "text": "b\udce9"}]
    assert as_message(AIMessage(content=blocks)).content == ["a\ufffd", {"type": "text", "text": "b\ufffd"}]


COUNTS = [
    {"input_tokens": -5, "output_tokens": 3, "total_tokens": -2},
    {"input_tokens": 5, "output_tokens": -3, "total_tokens": 2},
    {"input_tokens": float("nan"), "output_tokens": 3, "total_tokens": 3},
    {"input_tokens": "many", "output_tokens": 3, "total_tokens": 3},
]


@pytest.mark.parametrize("counts", COUNTS, ids=repr)
def test_token_counts_that_are_none_count_as_not_reported(counts: dict[str, Any]) -> None:
    message = AIMessage("Answer: 29").model_copy(update={"usage_metadata": counts})
    model: Any = RunnableLambda(lambda _: message)
    pool = Pool(Budget(tokens=5_000))
    solution = Solution.from_message(build(model).invoke(QUESTION, budget=pool))
    assert solution.usage.solve.unmetered_calls == 1
    assert Solution.from_message(list(build(model).stream(QUESTION))[-1]).usage.solve.unmetered_calls == 1
    assert pool.unspent.tokens < 5_000 - len("Answer: 29")


def test_counts_may_lack_a_part() -> None:
    odd: Any = {"input_tokens": 5, "input_token_details": {"cache_read": -1}, "output_token_details": None}
    cleaned = as_message(AIMessage("x").model_copy(update={"usage_metadata": odd})).usage_metadata
    assert cleaned is not None
    assert (cleaned["input_tokens"], cleaned["output_tokens"], cleaned["total_tokens"]) == (5, 0, 5)
    assert cleaned["input_token_details"] == {"cache_read": 0}


@every_way
def test_a_plan_of_ones_own_is_cleaned_too(how: str) -> None:
    plan: Any = RunnableLambda(
        lambda asked: Decomposition(question=asked, subquestions=("Is it \ud83d?",), text="\ud83d")
    )
    solution = Solution.from_message(run(DivideAndConquer(scripted("Answer: 29"), decomposer=plan), how))
    assert (solution.subquestions, solution.decomposition.text) == (("Is it \ufffd?",), "\ufffd")
    assert Solution.model_validate_json(solution.model_dump_json()) == solution


@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_a_model_that_cancels_itself_is_one_questions_fault(how: str) -> None:
    def reply(messages: list[BaseMessage]) -> str:
        if "poison" in messages[-1].text:
            raise asyncio.CancelledError
        return "Answer: 29"

    model: Any = RunnableLambda(reply)
    chain, asked = build(model), [QUESTION, "Is this poison?", QUESTION]
    results: list[Any] = (
        chain.batch(asked, return_exceptions=True)
        if how == "batch"
        else asyncio.run(chain.abatch(asked, return_exceptions=True))
    )
    assert [type(result) for result in results] == [AIMessage, GenerationCancelled, AIMessage]
    with pytest.raises(GenerationCancelled, match="The model cancelled its own call"):
        chain.invoke("Is this poison?") if how == "batch" else asyncio.run(chain.abatch(asked))
