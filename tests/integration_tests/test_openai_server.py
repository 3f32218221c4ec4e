"""The chain with a solver behind a real OpenAI-compatible server: ChatOpenAI and a llama.cpp process on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer, Solution, Solver
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.types import Mode
from tests.integration_tests.clients import connect
from tests.integration_tests.llama_server import running

QUESTION = "Who is the spouse of the author of the novel Emma?"


@pytest.fixture(scope="module")
def address(gguf_path: Path) -> Iterator[str]:
    """A server process that lives as long as this module's tests."""
    with running(gguf_path) as url:
        yield url


@pytest.fixture
def openai(address: str) -> ChatOpenAI:
    """The provider's client, pointed at the server."""
    return connect(address)


def build(openai: ChatOpenAI, engine_name: EngineName, mode: Mode = "fused") -> DivideAndConquer:
    """Return the chain: a decomposer in process, the solver on the server."""
    decomposer = Decomposer(model=ChatGGUF(engine=engine_name), gate="always")
    return DivideAndConquer(solver=Solver(model=openai, mode=mode), decomposer=decomposer)


@pytest.mark.parametrize("mode", ["fused", "sequential", "parallel"])
def test_a_served_solver_conquers_what_was_divided_in_process(
    openai: ChatOpenAI, engine_name: EngineName, mode: Mode
) -> None:
    counter = UsageMetadataCallbackHandler()
    message = build(openai, engine_name, mode).invoke(QUESTION, {"callbacks": [counter]})
    solution = Solution.from_message(message)
    assert solution.text == message.content != ""
    assert solution.mode == mode
    assert 1 <= len(solution.subquestions) <= 3
    served = next(usage for name, usage in counter.usage_metadata.items() if "on-a-server" in name)
    assert solution.usage.solve.input_tokens == served["input_tokens"] > 50
    assert solution.usage.solve.output_tokens == served["output_tokens"]
    assert solution.usage.decompose.output_tokens > 0


async def test_streaming_and_async_give_what_invoke_gives(address: str, engine_name: EngineName) -> None:
    async with DefaultAsyncHttpxClient() as client:  # the one that ChatOpenAI keeps would outlive this event loop
        chain = build(connect(address, http_async_client=client), engine_name)
        invoked = await chain.ainvoke(QUESTION)
        assert "".join([str(chunk.content) async for chunk in chain.astream(QUESTION)]) == invoked.content
    assert chain.invoke(QUESTION).content == invoked.content
    whole = AIMessageChunk(content="")
    pieces = 0
    for chunk in chain.stream(QUESTION):
        assert isinstance(chunk, AIMessageChunk)
        whole += chunk
        pieces += 1
    assert pieces > 10
    assert whole.content == invoked.content
    streamed = Solution.from_message(whole).usage.solve
    assert streamed.output_tokens == Solution.from_message(invoked).usage.solve.output_tokens


def test_it_takes_a_served_models_place_in_a_chain(openai: ChatOpenAI) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "You are terse."), ("human", "{question}")])
    chain = prompt | build(openai, "xllamacpp") | StrOutputParser()
    answers = chain.batch([{"question": QUESTION}, {"question": "What is 2 + 2?"}], {"max_concurrency": 2})
    assert len(answers) == 2
    assert all(answers)


def test_structured_output_comes_from_the_servers_json_schema(openai: ChatOpenAI) -> None:
    model = openai.model_copy(update={"max_tokens": 200})
    chain = DivideAndConquer(
        solver=Solver(model=model, structured=True, single_stage="direct"),
        decomposer=Decomposer(model=ChatGGUF(), gate="never"),
    )
    solution = Solution.from_message(chain.invoke("What is the capital of France?"))
    assert solution.answer
    assert f"Answer: {solution.answer}" in solution.text


def test_a_served_model_can_decompose_as_well(openai: ChatOpenAI) -> None:
    asked = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"  # the untuned model answers others
    decomposition = Decomposer(model=openai.bind(temperature=0)).with_retry(stop_after_attempt=1).invoke(asked)
    assert len(decomposition.subquestions) <= 4
    assert decomposition.usage.output_tokens > 0
