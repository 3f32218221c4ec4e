"""Batches of a chain, and the event loop: order, limits, faults, cancellation."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.types import Decomposition, Question
from tests.unit_tests.chains import big, build, every_mode, small
from tests.unit_tests.fakes import PLAN, QUESTION, scripted, ticks_during


def choosy(messages: list[BaseMessage]) -> str:
    if "poison" in messages[-1].text:
        raise ValueError("poisoned")
    return messages[-1].text.split("Question: ")[1].split("\n")[0]


QUESTIONS = [f"{QUESTION} How much is {n} and one?" for n in range(12)]


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def in_batch(
    chain: DivideAndConquer, questions: list[str], asynchronous: bool, config: Any = None, **options: Any
) -> Any:
    if asynchronous:
        return asyncio.run(chain.abatch(questions, config, **options))
    return chain.batch(questions, config, **options)


@both
def test_a_batch_keeps_the_order(asynchronous: bool) -> None:
    chain = DivideAndConquer(solver=scripted(choosy), decomposer=scripted(PLAN))
    assert [message.content for message in in_batch(chain, QUESTIONS, asynchronous)] == QUESTIONS
    assert in_batch(chain, [], asynchronous) == []


@both
def test_a_batch_returns_exceptions_in_their_places_or_raises_the_first(asynchronous: bool) -> None:
    chain = DivideAndConquer(solver=scripted(choosy), decomposer=scripted(PLAN))
    questions = [QUESTIONS[0], "Is this poison?", QUESTIONS[2]]
    results = in_batch(chain, questions, asynchronous, return_exceptions=True)
    assert [type(result) for result in results] == [AIMessage, ValueError, AIMessage]
    with pytest.raises(ValueError, match="poisoned"):
        in_batch(chain, questions, asynchronous)


def test_results_come_as_they_are_completed() -> None:
    chain = DivideAndConquer(solver=scripted(choosy), decomposer=scripted(PLAN))
    results: list[tuple[int, Any]] = list(chain.batch_as_completed(QUESTIONS, {"max_concurrency": 3}))
    assert sorted((n, message.content) for n, message in results) == list(enumerate(QUESTIONS))

    async def collect() -> list[tuple[int, Any]]:
        return [result async for result in chain.abatch_as_completed(QUESTIONS, {"max_concurrency": 3})]

    assert sorted((n, message.content) for n, message in asyncio.run(collect())) == list(enumerate(QUESTIONS))


@every_mode
@both
def test_max_concurrency_is_the_number_of_solver_calls_in_flight(mode: Any, asynchronous: bool) -> None:
    plan = "1. How many boxes?\n2. How many pens?\n3. How many are left?"
    chain = build(mode, plan=plan, reply="Answer: 1", delay=0.01)
    config: RunnableConfig = {"max_concurrency": 2}
    in_batch(chain, QUESTIONS[:6], asynchronous, config)
    assert big(chain).most_in_flight == 2
    assert len(big(chain).seen) == 6 * (1 if mode == "fused" else 4)


@both
def test_inside_another_run_its_max_concurrency_is_obeyed(asynchronous: bool) -> None:
    chain = build("parallel", plan="1. How many boxes?\n2. How many pens?", reply="Answer: 1", delay=0.02)

    def ask(question: str) -> AIMessage:
        return asyncio.run(chain.ainvoke(question)) if asynchronous else chain.invoke(question)

    RunnableLambda(ask).invoke(QUESTION, {"max_concurrency": 1})
    assert big(chain).most_in_flight == 1
    assert len(big(chain).seen) == 3


@both
def test_the_next_question_is_divided_while_the_last_is_conquered(asynchronous: bool) -> None:
    chain = build(delay=0.05)
    config: RunnableConfig = {"max_concurrency": 1}
    in_batch(chain, QUESTIONS[:4], asynchronous, config)
    solving, dividing = sorted(big(chain).spans), sorted(small(chain).spans)
    assert big(chain).most_in_flight == 1
    # Each later plan is made before the solver call that precedes it has ended.
    assert all(dividing[n + 1][0] < solving[n][1] for n in range(3))


@both
def test_what_runs_in_a_batch_sees_the_limit_that_was_given(asynchronous: bool) -> None:
    seen = set()

    def divide(question: Question, config: RunnableConfig) -> Decomposition:
        seen.add(config.get("max_concurrency"))
        return Decomposition(question=question)

    chain = DivideAndConquer(solver=scripted(choosy), decomposer=RunnableLambda(divide))
    in_batch(chain, QUESTIONS[:3], asynchronous, {"max_concurrency": 2})
    assert seen == {2}


def test_max_concurrency_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_concurrency is 0; it must be at least 1"):
        build().batch([QUESTION] * 2, {"max_concurrency": 0})


def test_many_threads_share_one_chain() -> None:
    chain = DivideAndConquer(solver=scripted(choosy), decomposer=scripted(PLAN))

    def hammer(n: int) -> None:
        for question in QUESTIONS:
            asked = f"{question[:-1]}, {n}?"
            assert chain.invoke(asked).content == asked

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))  # raises a thread's failure


# The event loop


async def test_the_event_loop_is_never_blocked() -> None:
    assert await ticks_during(build("sequential", delay=0.2).ainvoke(QUESTION)) > 10


@every_mode
async def test_cancelling_a_call_cancels_what_it_waits_for(mode: Any) -> None:
    chain = build(mode, delay=30)
    small(chain).delay = 0
    task = asyncio.ensure_future(chain.ainvoke(QUESTION))
    while not big(chain).seen:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert big(chain).cancelled == 1


async def test_a_failure_in_a_batch_cancels_the_rest() -> None:
    everyone = DivideAndConquer(solver=scripted(choosy, delay=0.01), decomposer=scripted(PLAN))
    with pytest.raises(ValueError, match="poisoned"):
        await everyone.abatch(["Is this poison?", *QUESTIONS], {"max_concurrency": 2})
    assert len(big(everyone).seen) < len(QUESTIONS)
