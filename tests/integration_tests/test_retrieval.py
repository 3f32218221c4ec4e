"""Retrieval hop by hop with real models: the embedded one in process, and one behind an OpenAI-compatible server."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from openai import DefaultAsyncHttpxClient

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.retrieval import DecomposedRetriever
from tests.integration_tests.clients import connect
from tests.integration_tests.llama_server import running
from tests.library import QUESTIONS, divide, documents, names, plain

MULTI_HOP = [question for question in QUESTIONS if question.subquestions]


class TestDecomposedRetriever(RetrieversIntegrationTests):
    """langchain-tests' suite, with the embedded model as decomposer and reader."""

    retriever_constructor = DecomposedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        decomposer = Decomposer(model=ChatGGUF(), gate="always")
        return {"retriever": plain(4), "reader": ChatGGUF(max_tokens=32), "decomposer": decomposer}

    retriever_query_example = MULTI_HOP[0].question


def check(found: list[Document], question: str, k: int) -> None:
    """Check what holds however well or badly the models divide and read."""
    assert 1 <= len(found) <= k
    assert len(set(names(found))) == len(found)
    library = {document.page_content for document in documents()}
    for document in found:
        assert document.page_content in library
        origin = document.metadata["divconq"]
        assert 0 <= origin["number"] <= 4
        assert (origin["subquestion"] == question) == (origin["number"] == 0)


async def test_the_embedded_model_divides_and_reads(engine_name: EngineName) -> None:
    model = ChatGGUF(engine=engine_name, max_tokens=32)
    retriever = DecomposedRetriever(
        retriever=plain(4), reader=model, decomposer=Decomposer(model=ChatGGUF(engine=engine_name)), k=5
    )
    question = MULTI_HOP[0].question
    found = retriever.invoke(question)
    check(found, question, 5)
    assert await retriever.ainvoke(question) == found


@pytest.mark.parametrize("question", MULTI_HOP[:2], ids=lambda question: question.passages[0])
async def test_a_served_model_reads_each_hop(gguf_path: Path, question: Any) -> None:
    with running(gguf_path) as address:
        async with DefaultAsyncHttpxClient() as client:  # the one that ChatOpenAI keeps would outlive this event loop
            retriever = DecomposedRetriever(
                retriever=plain(4),
                reader=connect(address, http_async_client=client),
                decomposer=RunnableLambda(divide),
                k=5,
                on_trouble="raise",
            )
            counter = UsageMetadataCallbackHandler()
            found = await retriever.ainvoke(question.question, {"callbacks": [counter]})
            check(found, question.question, 5)
            assert {document.metadata["divconq"]["number"] for document in found} >= {1, 2}
            [served] = counter.usage_metadata.values()
            assert served["input_tokens"] > 100  # passages were read
