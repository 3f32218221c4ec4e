"""What people do instead of dividing a question: rewriting it, many queries, reasoning between searches, an agent.

Each asks the same solver and the same retriever, at most `MOST_SEARCHES` times, the question itself among them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool

from langchain_divconq.calls import as_message
from langchain_divconq.retrieval import Fuse, Query, Search, fused
from training.measure.config import AGENT, IRCOT, MULTIQUERY, REWRITE

RIVALS_VERSION = "1"
"""Changes with every change of the prompts below."""

MOST_SEARCHES = 4

_READ = 4
_SHOWN = 600  # characters of a passage
_DONE = "so the answer is"
_REWRITE = (
    "Rewrite this question as one query for a keyword search over encyclopedia paragraphs. Keep all names in it, add "
    "words that the paragraphs which answer it are likely to hold, and drop words that do not help. Reply with the "
    "query alone, on one line.\n\nQuestion: {question}"
)
_MULTIQUERY = (
    "Write three different versions of this question, to find paragraphs of an encyclopedia that answer it: one on "
    "each line, without numbers.\n\nQuestion: {question}"
)
_IRCOT = (
    "{passages}\n\nQuestion: {question}\n\nThoughts so far: {thoughts}\n\nWrite the next step of the reasoning in one "
    "sentence, with the names that the passages give. If it is the last, begin it with 'So the answer is'."
)
_AGENT = (
    "Search for the passages that answer the question, one fact after another: name in each search what you have "
    f"found. Search at most {MOST_SEARCHES} times, then give the answer."
)

Searcher = Callable[[str, Runnable[Any, Any], Runnable[Any, Any], RunnableConfig], Awaitable[list[Document]]]
"""From a question, who searches, who is asked, and the config of both, to what was found."""


def first_prompt(mode: str, question: str) -> list[BaseMessage]:
    """Return the messages that a rival sends first, for a preview of what it will take."""
    form = {REWRITE: _REWRITE, MULTIQUERY: _MULTIQUERY, IRCOT: _IRCOT, AGENT: f"{_AGENT}\n\n{{question}}"}[mode]
    return [HumanMessage(form.format(question=question, passages="", thoughts=""))]


async def rewrite(
    question: str, retriever: Runnable[Any, Any], model: Runnable[Any, Any], config: RunnableConfig
) -> list[Document]:
    """Search for the model's own query, and for the question beside it."""
    queries = parse_queries(await _said(model, _REWRITE.format(question=question), config), 1)
    return await _searched([*queries, question], retriever, "turns", question, config)


async def multiquery(
    question: str, retriever: Runnable[Any, Any], model: Runnable[Any, Any], config: RunnableConfig
) -> list[Document]:
    """Search for three versions of the question and for itself; fused by reciprocal ranks, as is usual."""
    queries = parse_queries(await _said(model, _MULTIQUERY.format(question=question), config), MOST_SEARCHES - 1)
    return await _searched([*queries, question], retriever, "rrf", question, config)


async def ircot(
    question: str, retriever: Runnable[Any, Any], model: Runnable[Any, Any], config: RunnableConfig
) -> list[Document]:
    """Search for each step of the model's reasoning over what the earlier searches found (after IRCoT)."""
    searches = [Search(Query(0, question), await retriever.ainvoke(question, config))]
    thoughts: list[str] = []
    while len(searches) < MOST_SEARCHES:
        read = [hit.document.page_content[:_SHOWN] for hit in fused(searches)[: _READ + len(searches)]]
        passages = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(read, start=1))
        prompt = _IRCOT.format(passages=passages, question=question, thoughts=" ".join(thoughts) or "none")
        thought = " ".join((await _said(model, prompt, config)).split())
        if not thought or _DONE in thought.casefold() or thought in thoughts:
            break
        thoughts.append(thought)
        searches.append(Search(Query(len(searches), thought), await retriever.ainvoke(thought, config)))
    return [hit.document for hit in fused(searches)]


async def agent(
    question: str, retriever: Runnable[Any, Any], model: Runnable[Any, Any], config: RunnableConfig
) -> list[Document]:
    """Let an agent search as it likes; what the question itself finds counts too."""
    from langchain.agents import create_agent

    searches = [Search(Query(0, question), await retriever.ainvoke(question, config))]

    @tool
    async def search(query: str) -> str:
        """Search the encyclopedia for passages, with a short query that names what is looked for."""
        if len(searches) > MOST_SEARCHES:
            return "No more searches are left. Give the answer."
        found = await retriever.ainvoke(query, config)
        searches.append(Search(Query(len(searches), query), found))
        return "\n\n".join(document.page_content[:_SHOWN] for document in found[:_READ]) or "Nothing was found."

    chat_model: Any = model
    graph: Any = create_agent(chat_model, tools=[search], system_prompt=_AGENT)
    # Two steps of the graph to a search, the last reply, and one to spare.
    limited: RunnableConfig = {**config, "recursion_limit": 2 * MOST_SEARCHES + 4}
    await graph.ainvoke({"messages": [HumanMessage(question)]}, limited)
    return [hit.document for hit in fused(searches)]


SEARCHERS: dict[str, Searcher] = {REWRITE: rewrite, MULTIQUERY: multiquery, IRCOT: ircot, AGENT: agent}


def parse_queries(reply: str, most: int) -> list[str]:
    """Return the queries in a reply, one a line; none where there is none."""
    lines = [
        line.strip().removeprefix("Query:").lstrip("-*0123456789.) ").strip(" \"'`") for line in reply.splitlines()
    ]
    return [*dict.fromkeys(line for line in lines if line)][:most]


async def _said(model: Runnable[Any, Any], prompt: str, config: RunnableConfig) -> str:
    return as_message(await model.ainvoke([HumanMessage(prompt)], config)).text


async def _searched(
    queries: Sequence[str], retriever: Runnable[Any, Any], how: Fuse, question: str, config: RunnableConfig
) -> list[Document]:
    numbered = [Query(0 if text == question else number, text) for number, text in enumerate(queries, start=1)]
    return [
        hit.document
        for hit in fused([Search(query, await retriever.ainvoke(query.text, config)) for query in numbered], how)
    ]
