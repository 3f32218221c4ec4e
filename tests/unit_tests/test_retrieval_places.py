"""Where the retriever stands: around LangChain's retrievers, inside them, as an agent's tool, in a graph."""

import asyncio
import re
import zlib
from collections.abc import Sequence
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MultiVectorRetriever,
    ParentDocumentRetriever,
)
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.stores import InMemoryStore
from langchain_core.tools import ToolException
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_mcp_adapters.tools import to_fastmcp
from langchain_text_splitters import CharacterTextSplitter
from langgraph.graph import StateGraph
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session
from pydantic import BaseModel, Field

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.retrieval.tool import NOTHING, render_passages
from tests.library import QUESTIONS, divide, documents, names, plain, read
from tests.unit_tests.fakes import calls, in_turn, scripted
from tests.unit_tests.long_bridge import FILLED, PLAN, QUESTION, SHELF
from tests.unit_tests.shelf import Shelf, both, build, searched, shelf, texts

ASKED = next(question for question in QUESTIONS if len(question.subquestions) == 2)


class Words(Embeddings):
    """A vector of a text's words: as good as BM25 for a small library, and always the same."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = [1e-6] * 1024
        for word in re.findall(r"\w{4,}", text.lower()):
            vector[zlib.crc32(word.encode()) % 1024] += 1
        return vector


class Reversed(BaseDocumentCompressor):
    """Turns the order around, and keeps how it was asked."""

    asked: list[str] = Field(default_factory=list)
    error: Any = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        return list(reversed(documents))


def hop_by_hop(retriever: Any, **fields: Any) -> DecomposedRetriever:
    """Return the library's retriever over another; plans and answers are those written for the library."""
    fields = {"reader": scripted(read), "decomposer": RunnableLambda(divide), "k": 5, "on_trouble": "raise", **fields}
    return DecomposedRetriever(retriever=retriever, **fields)


def vectors() -> InMemoryVectorStore:
    store = InMemoryVectorStore(Words())
    store.add_documents(documents())
    return store


def multi_vector() -> MultiVectorRetriever:
    """Search vectors of sentences and return the documents they are from."""
    store: InMemoryStore = InMemoryStore()
    store.mset([(document.metadata["name"], document) for document in documents()])
    sentences = InMemoryVectorStore(Words())
    sentences.add_documents(
        [
            Document(sentence, metadata={"doc_id": document.metadata["name"]})
            for document in documents()
            for sentence in document.page_content.split(". ")
        ]
    )
    return MultiVectorRetriever(vectorstore=sentences, docstore=store, search_kwargs={"k": 6})


def parent_document() -> ParentDocumentRetriever:
    retriever = ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(Words()),
        docstore=InMemoryStore(),
        child_splitter=CharacterTextSplitter(separator=". ", chunk_size=120, chunk_overlap=0),
        search_kwargs={"k": 6},
    )
    retriever.add_documents(documents())
    return retriever


INNER = {
    "vector store": lambda: vectors().as_retriever(search_kwargs={"k": 4}),
    "ensemble": lambda: EnsembleRetriever(
        retrievers=[plain(4), vectors().as_retriever(search_kwargs={"k": 4})], weights=[0.5, 0.5]
    ),
    "compression": lambda: ContextualCompressionRetriever(
        base_retriever=plain(8), base_compressor=EmbeddingsFilter(embeddings=Words(), k=4)
    ),
    "multi-vector": multi_vector,
    "parent document": parent_document,
}


@both
@pytest.mark.parametrize("inner", INNER)
def test_every_hop_is_found_over_langchains_own_retrievers(inner: str, asynchronous: bool) -> None:
    found = searched(hop_by_hop(INNER[inner]()), ASKED.question, asynchronous)
    assert set(ASKED.passages) <= set(names(found))
    assert len(found) <= 5


@both
def test_it_stands_in_an_ensemble_as_any_retriever_does(asynchronous: bool) -> None:
    ensemble = EnsembleRetriever(retrievers=[hop_by_hop(plain(4)), plain(4)], weights=[0.7, 0.3])
    found = searched(ensemble, ASKED.question, asynchronous)
    assert set(ASKED.passages) <= set(names(found))


@both
def test_it_stands_under_a_contextual_compressor_as_any_retriever_does(asynchronous: bool) -> None:
    compressed = ContextualCompressionRetriever(base_retriever=hop_by_hop(plain(4)), base_compressor=Reversed())
    assert searched(compressed, ASKED.question, asynchronous) == list(
        reversed(hop_by_hop(plain(4)).invoke(ASKED.question))
    )


@both
def test_a_reranker_orders_all_that_was_found_for_the_whole_question(asynchronous: bool) -> None:
    reranker = Reversed()
    found = searched(build(reranker=reranker, k=2), QUESTION, asynchronous)
    assert found == list(reversed(build().invoke(QUESTION)))[:2]
    assert reranker.asked == [QUESTION]


@both
def test_a_reranker_that_fails_twice_leaves_the_order_and_says_so(
    asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_divconq.retrieval.walk._WAIT", {"max": 0.0})
    reranker = Reversed(error=TimeoutError("slow"))
    found = searched(build(reranker=reranker, k=3), QUESTION, asynchronous)
    assert texts(found) == texts(build(k=3).invoke(QUESTION))
    assert {tuple(one.metadata["divconq"]["partial"]) for one in found} == {("reranking failed: TimeoutError: slow",)}
    assert len(reranker.asked) == 2
    with pytest.raises(TimeoutError, match="slow"):
        searched(build(reranker=reranker, on_trouble="raise"), QUESTION, asynchronous)


# For agents


@both
def test_the_tool_gives_passages_with_what_found_them_and_the_documents_as_artifact(asynchronous: bool) -> None:
    retriever = build()
    call = {"type": "tool_call", "name": "search_hop_by_hop", "id": "1", "args": {"query": QUESTION}}
    tool = retriever.as_tool()
    message = asyncio.run(tool.ainvoke(call)) if asynchronous else tool.invoke(call)
    assert isinstance(message, ToolMessage)
    assert message.artifact == build().invoke(QUESTION)
    first, *others = str(message.content).split("\n\n")
    assert first == f"[1] found for: {PLAN[0]} (read there: Lund)\n{SHELF[PLAN[0]][0]}"
    assert others[1] == f"[3] found for: {FILLED}\n{SHELF[FILLED][0]}"
    assert tool.args == {"query": tool.args["query"]}


def test_nothing_found_is_told_in_words() -> None:
    assert render_passages(build(retriever=Shelf(texts={})).invoke(QUESTION)) == NOTHING


@both
@pytest.mark.parametrize(("wrong", "said"), [({"query": " "}, "The question is empty"), ({"q": "Who?"}, "query")])
def test_an_agent_is_told_of_a_search_that_went_wrong_and_goes_on(
    wrong: dict[str, str], said: str, asynchronous: bool
) -> None:
    model = in_turn(calls("search_hop_by_hop", **wrong), AIMessage("I asked wrongly."))
    agent: Any = create_agent(model, [build().as_tool()])
    asked = {"messages": [HumanMessage(QUESTION)]}
    state = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    _, _, told, last = state["messages"]
    assert (told.status, said in told.text, last.text) == ("error", True, "I asked wrongly.")


@both
def test_without_a_tool_call_an_error_of_a_search_is_raised(asynchronous: bool) -> None:
    tool = build().as_tool()
    with pytest.raises(ToolException, match="The question is empty"):
        asyncio.run(tool.ainvoke({"query": " "})) if asynchronous else tool.invoke({"query": " "})


async def test_over_mcp_an_error_of_a_search_is_marked_as_one() -> None:
    server = FastMCP(tools=[to_fastmcp(build().as_tool())])
    async with create_connected_server_and_client_session(server) as session:
        told = await session.call_tool("search_hop_by_hop", {"query": " "})
        assert (told.isError, "The question is empty" in str(told.content)) == (True, True)
        found = await session.call_tool("search_hop_by_hop", {"query": QUESTION})
        assert (found.isError, SHELF[FILLED][0] in str(found.content)) == (False, True)


def test_a_tool_has_a_name_a_description_and_arguments_of_ones_own() -> None:
    class Search(BaseModel):
        query: str
        k: int
        filter: str = "none"

    tool = (retriever := build()).as_tool(Search, name="find", description="Finds.")
    assert (tool.name, tool.description) == ("find", "Finds.")
    assert len(tool.invoke({"query": QUESTION, "k": 1, "filter": "all"}).split("\n\n")) == 1
    assert shelf(retriever).options == [{"filter": "all"}] * 4
    with pytest.raises(ConfigurationError, match="pass args_schema"):
        retriever.as_tool(arg_types={"query": str})


@both
def test_an_agent_searches_hop_by_hop_and_reads_what_was_found(asynchronous: bool) -> None:
    model = in_turn(calls("search_hop_by_hop", query=ASKED.question), AIMessage("Done."))
    agent: Any = create_agent(model, tools=[hop_by_hop(plain(4)).as_tool()])
    asked = {"messages": [HumanMessage(ASKED.question)]}
    state = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    [told] = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert told.status == "success"
    assert set(ASKED.passages) <= set(names(told.artifact))
    content = " ".join(str(told.content).split())
    assert all(answer in content for answer in ASKED.answers)


class Found(TypedDict, total=False):
    question: str
    documents: list[Document]


@both
def test_it_is_a_node_of_a_graph(asynchronous: bool) -> None:
    graph = StateGraph(Found)
    retriever = hop_by_hop(plain(4))
    graph.add_node("search", (lambda state: state["question"]) | retriever | (lambda found: {"documents": found}))
    graph.set_entry_point("search")
    graph.set_finish_point("search")
    compiled: Any = graph.compile()
    asked = {"question": ASKED.question}
    state = asyncio.run(compiled.ainvoke(asked)) if asynchronous else compiled.invoke(asked)
    assert set(ASKED.passages) <= set(names(state["documents"]))


async def test_a_graphs_events_tell_each_hop() -> None:
    graph = StateGraph(Found)
    graph.add_node("search", (lambda state: state["question"]) | hop_by_hop(plain(4)) | (lambda _: {}))
    graph.set_entry_point("search")
    compiled: Any = graph.compile()
    events = [event async for event in compiled.astream_events({"question": ASKED.question}, version="v2")]
    told = [event["name"] for event in events if event["event"] == "on_custom_event"]
    assert told == ["divconq_decomposition", *["divconq_hop"] * 3]
