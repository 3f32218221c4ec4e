"""LangChain's own cache, on the decomposer's model or on the solver's: what hits, what misses, what a hit costs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from langchain_divconq.budget import Budget, Pool
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.base import Request, Token, TokenLogprob
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Solution
from langchain_divconq.usage import Price, StageUsage, add_metadata
from tests.gguf_writer import write_model
from tests.unit_tests.chains import total
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import PLAN, QUESTION, scripted

# Reading text back is in beta in langchain-core.
pytestmark = pytest.mark.filterwarnings("ignore:The function `loads` is in beta")


class Planner(FakeEngine):
    """Writes a plan, and tells how close it came to writing that none is needed."""

    def _tokens(self, request: Request) -> Iterator[Token]:
        first, *others = PLAN.partition(".")
        likeliest, sentinel = TokenLogprob("1", -0.5), TokenLogprob("No", -1.5)
        yield Token(first, likeliest, (likeliest, sentinel))
        for text in others:
            yield Token(text, TokenLogprob(text, -0.1), ())


class Stored(BaseCache):
    """Keeps what it is given as text, as a cache on disk does."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], list[str]] = {}

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        found = self.entries.get((prompt, llm_string))
        return None if found is None else [loads(text, allowed_objects=[ChatGeneration, AIMessage]) for text in found]

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self.entries[prompt, llm_string] = [dumps(generation) for generation in return_val]

    def clear(self, **kwargs: Any) -> None:
        self.entries = {}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Planner:
    install(monkeypatch, engine := Planner(["1", ".", "…"]))  # as many tokens as it writes
    return engine


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.gguf")


def without_usage(decomposition: Decomposition) -> Decomposition:
    return decomposition.model_copy(update={"usage": StageUsage()})


@pytest.mark.parametrize("cache", [InMemoryCache, Stored])
def test_a_hit_gives_the_same_decomposition_and_decodes_nothing(
    cache: type[BaseCache], engine: Planner, weights: Path
) -> None:
    decomposer = Decomposer(model=ChatGGUF(model_path=weights, cache=cache()))
    first, again = decomposer.invoke(QUESTION), decomposer.invoke(QUESTION)
    awaited = asyncio.run(decomposer.ainvoke(QUESTION))
    assert len(engine.requests) == 1
    assert without_usage(first) == without_usage(again) == without_usage(awaited)
    assert first.no_decomposition_probability == pytest.approx(0.2689, abs=1e-4)
    assert len(first.subquestions) == 2


@pytest.mark.parametrize("cache", [InMemoryCache, Stored])
def test_a_hit_costs_a_call_and_no_tokens(cache: type[BaseCache], engine: Planner, weights: Path) -> None:
    price = Price(input=1, output=1)
    decomposer = Decomposer(model=ChatGGUF(model_path=weights, cache=cache()), price=price)
    first, again = decomposer.invoke(QUESTION).usage, decomposer.invoke(QUESTION).usage
    assert (first.calls, first.cached_calls) == (1, 0)
    assert first.output_tokens > 0
    assert again == StageUsage(calls=1, cached_calls=1, seconds=again.seconds, dollars=0.0)
    assert (first + again).output_tokens == first.output_tokens
    assert (first + again).cached_calls == 1


def test_the_cache_set_for_the_whole_process_serves_too(engine: Planner, weights: Path) -> None:
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(3):
            Decomposer(model=ChatGGUF(model_path=weights)).invoke(QUESTION)
    finally:
        set_llm_cache(None)
    assert len(engine.requests) == 1


@pytest.mark.parametrize("change", [{"max_subquestions": 2}, {"gate": "always"}])
def test_another_grammar_misses(change: dict[str, Any], engine: Planner, weights: Path) -> None:
    model = ChatGGUF(model_path=weights, cache=InMemoryCache())
    Decomposer(model=model).invoke(QUESTION)
    Decomposer(model=model, **change).invoke(QUESTION)
    assert len(engine.requests) == 2


def test_another_threshold_of_the_gate_hits_and_decides_anew(engine: Planner, weights: Path) -> None:
    model = ChatGGUF(model_path=weights, cache=InMemoryCache())
    assert len(Decomposer(model=model, gate=0.5).invoke(QUESTION).subquestions) == 2
    assert Decomposer(model=model, gate=0.1).invoke(QUESTION).subquestions == ()
    assert len(engine.requests) == 1


# The solver


def chain(**fields: Any) -> DivideAndConquer:
    model = scripted("Answer: 29", model_name="big", cache=InMemoryCache(), **fields)
    solver = Solver(model=model, mode="sequential", price=Price(input=1e6, output=0))
    return DivideAndConquer(solver=solver, decomposer=scripted(PLAN))


def test_subanswers_are_cached_where_the_solvers_model_is() -> None:
    cached = chain()
    first, again = cached.invoke(QUESTION), cached.invoke(QUESTION)
    used, free = (Solution.from_message(message).usage.solve for message in (first, again))
    assert Solution.from_message(again).subanswers == Solution.from_message(first).subanswers
    assert (used.calls, used.cached_calls) == (3, 0)
    assert (free.calls, free.cached_calls, free.input_tokens, free.dollars) == (3, 3, 0, 0.0)
    assert first.usage_metadata is not None
    assert "total_cost" not in first.usage_metadata
    assert again.usage_metadata is not None
    assert again.usage_metadata["total_cost"] == 0  # type: ignore[typeddict-item]  # LangChain's mark


def test_what_is_cached_is_not_billed_beside_what_is_not() -> None:
    cached = chain()
    cached.invoke(QUESTION)
    whole = total(list(cached.stream(QUESTION)))  # a stream asks for its closing reply anew
    usage = Solution.from_message(whole).usage.solve
    assert (usage.calls, usage.cached_calls) == (3, 2)
    assert "total_cost" not in whole.usage_metadata
    assert whole.usage_metadata["input_tokens"] == usage.input_tokens > 0


def test_a_model_that_counts_nothing_can_be_cached() -> None:
    cached = chain(metered=False)
    cached.invoke(QUESTION)
    message = cached.invoke(QUESTION)
    usage = Solution.from_message(message).usage.solve
    assert (usage.cached_calls, usage.unmetered_calls) == (3, 0)
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 0


def test_a_budget_is_not_charged_for_what_is_cached() -> None:
    cached, pool = chain(), Pool(Budget(tokens=50_000))
    cached.invoke(QUESTION, budget=pool)
    left = pool.unspent.tokens
    cached.invoke(QUESTION, budget=pool)
    assert pool.unspent.tokens == left < 50_000


def test_counts_add_up_in_any_order_and_grouping() -> None:
    def usage(tokens: int, **more: Any) -> Any:
        return {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens, **more}

    paid, other, free = usage(5), usage(7), usage(3, total_cost=0)
    assert add_metadata(add_metadata(paid, free), other) == add_metadata(paid, add_metadata(free, other)) == usage(12)
    assert add_metadata(free, free) == usage(6, total_cost=0)
    assert add_metadata(None, free) == free
    assert add_metadata(None, None) is None
