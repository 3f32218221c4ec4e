"""Many questions at once get what each gets alone, and a call that is given up leaves the engine to the next."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer, Solution, Solver
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.benchmarks.questions import questions

QUESTIONS = [question for question in questions(12, seed=11) if question.context is None]


@pytest.fixture(scope="module")
def decomposer(engine_name: EngineName) -> Decomposer:
    """The default decomposer on one of the engines; short plans, for time."""
    return Decomposer(model=ChatGGUF(engine=engine_name), gate="always", max_subquestions=1)


@pytest.fixture(scope="module")
def alone(decomposer: Decomposer) -> list[str]:
    """What each question gets when nothing else is asked."""
    return [decomposer.invoke(question).text for question in QUESTIONS]


def test_eight_threads_get_what_each_question_gets_alone(decomposer: Decomposer, alone: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda question: decomposer.invoke(question).text, QUESTIONS))
    assert together == alone
    assert len(set(alone)) > len(QUESTIONS) / 2  # the questions are told apart


async def test_an_event_loop_gets_what_each_question_gets_alone(decomposer: Decomposer, alone: list[str]) -> None:
    decompositions = await asyncio.gather(*(decomposer.ainvoke(question) for question in QUESTIONS))
    assert [decomposition.text for decomposition in decompositions] == alone


def test_a_batch_of_the_chain_gets_what_each_question_gets_alone(decomposer: Decomposer, alone: list[str]) -> None:
    model = decomposer.model
    assert isinstance(model, ChatGGUF)
    solver = Solver(model=model.model_copy(update={"max_tokens": 4}))
    chain = DivideAndConquer(solver=solver, decomposer=decomposer)
    messages = chain.batch(QUESTIONS[:2], {"max_concurrency": 2})
    assert [Solution.from_message(message).decomposition.text for message in messages] == alone[:2]


async def test_a_cancelled_call_leaves_the_engine_to_the_next(decomposer: Decomposer, alone: list[str]) -> None:
    model = decomposer.model
    assert isinstance(model, ChatGGUF)
    endless = model.bind(grammar='root ::= "a" [a-z ]{2000}', max_tokens=2000)
    start = time.perf_counter()
    await decomposer.ainvoke(QUESTIONS[1])
    usual = time.perf_counter() - start
    task = asyncio.ensure_future(endless.ainvoke("Say a."))
    await asyncio.sleep(0.5)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    start = time.perf_counter()
    assert (await decomposer.ainvoke(QUESTIONS[0])).text == alone[0]
    # The 2,000 tokens given up would take sixty times as long as a plan.
    assert time.perf_counter() - start < 20 * usual
