"""The retriever as an agent's tool: passages with the subquestion that found each, the documents as artifact."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from langchain_divconq.tool_errors import MarksErrors, told_to_the_agent
from langchain_divconq.types import METADATA_KEY

NAME = "search_hop_by_hop"
DESCRIPTION = (
    "Search the documents for a question that may take several facts, each found with the one before. Ask the whole "
    "question in one call: it is divided, and each part is searched for. It returns passages, each under the "
    "subquestion it was found for, and answers nothing."
)
NOTHING = "Nothing was found. Ask in other words, or for a part of it."


class SearchInput(BaseModel):
    """What is searched for."""

    query: str = Field(description="The whole question in words, with every name and number it depends on.")


class _SearchTool(MarksErrors, StructuredTool):
    """Searches, and tells its agent what went wrong."""


def make_tool(
    retriever: BaseRetriever, args_schema: type[BaseModel] | None, name: str | None, description: str | None
) -> BaseTool:
    """Return a tool that searches; its content is text for a model, its artifact the documents."""

    def search(
        query: str, config: RunnableConfig, callbacks: Callbacks = None, **options: Any
    ) -> tuple[str, list[Document]]:
        with told_to_the_agent():
            documents = retriever.invoke(query, {**config, "callbacks": callbacks}, **options)
        return render_passages(documents), documents

    async def asearch(
        query: str, config: RunnableConfig, callbacks: Callbacks = None, **options: Any
    ) -> tuple[str, list[Document]]:
        with told_to_the_agent():
            documents = await retriever.ainvoke(query, {**config, "callbacks": callbacks}, **options)
        return render_passages(documents), documents

    return _SearchTool(
        name=name or NAME,
        description=description or DESCRIPTION,
        func=search,
        coroutine=asearch,
        args_schema=args_schema or SearchInput,
        response_format="content_and_artifact",
    )


def render_passages(documents: Sequence[Document]) -> str:
    """Return passages as a model reads them: numbered, each under the subquestion that found it, with its answer."""
    lines = []
    for number, document in enumerate(documents, start=1):
        origin = document.metadata.get(METADATA_KEY, {})
        answer = f" (read there: {origin['answer']})" if origin.get("answer") else ""
        lines.append(f"[{number}] found for: {origin.get('subquestion', '')}{answer}\n{document.page_content}")
    return "\n\n".join(lines) or NOTHING
