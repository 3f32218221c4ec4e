"""Rivals of dividing a question: rewriting it, many queries, reasoning between searches, an agent.

Each asks the same solver and the same retriever, at most `MOST_SEARCHES` times, the question itself among them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool

from langchain_divconq.calls import as_message
from langchain_divconq.retrieval import Fuse, Query, Search, fused
from training.measure.config import AGENT, IRCOT, MULTIQUERY, REWRITE

RIVAL_VERSIONS = {REWRITE: "1", MULTIQUERY: "1", IRCOT: "2", AGENT: "1"}
"""Each changes with what the rival asks or searches for."""

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


@dataclass(frozen=True)
class Asked:
    """A question, with who searches and who is asked."""

    question: str
    retriever: Runnable[Any, Any]
    model: Runnable[Any, Any]
    config: RunnableConfig
    """Of both."""

    async def search(self, number: int, query: str) -> Search:
        """Return what a query finds; number 0 is the question's own."""
        return Search(Query(number, query), await self.retriever.ainvoke(query, self.config))

    async def ask(self, form: str, **parts: str) -> str:
        """Return the model's reply to a prompt about the question."""
        prompt = [HumanMessage(form.format(question=self.question, **parts))]
        return as_message(await self.model.ainvoke(prompt, self.config)).text

    async def search_all(self, queries: Sequence[str], how: Fuse) -> list[Document]:
        """Return what queries find, and the question beside them."""
        numbered = [(0 if text == self.question else at, text) for at, text in enumerate(queries, start=1)]
        searches = [await self.search(*one) for one in [*numbered, (0, self.question)]]
        return [hit.document for hit in fused(searches, how)]


def first_prompt(mode: str, question: str) -> list[BaseMessage]:
    """Return the messages that a rival sends first, for a preview of what it will take."""
    form = {REWRITE: _REWRITE, MULTIQUERY: _MULTIQUERY, IRCOT: _IRCOT, AGENT: f"{_AGENT}\n\n{{question}}"}[mode]
    return [HumanMessage(form.format(question=question, passages="", thoughts=""))]


async def rewrite(asked: Asked) -> list[Document]:
    """Search for the model's own query, and for the question beside it."""
    return await asked.search_all(parse_queries(await asked.ask(_REWRITE), 1), "turns")


async def multiquery(asked: Asked) -> list[Document]:
    """Search for three versions of the question and for itself; fused by reciprocal ranks, as is usual."""
    return await asked.search_all(parse_queries(await asked.ask(_MULTIQUERY), MOST_SEARCHES - 1), "rrf")


async def ircot(asked: Asked) -> list[Document]:
    """Search for each step of the model's reasoning over what the earlier searches found (after IRCoT).

    For the last step too, since a small model often gives its answer in the first.
    """
    searches = [await asked.search(0, asked.question)]
    thoughts: list[str] = []
    while len(searches) < MOST_SEARCHES:
        read = [hit.document.page_content[:_SHOWN] for hit in fused(searches)[: _READ + len(searches)]]
        passages = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(read, start=1))
        thought = " ".join((await asked.ask(_IRCOT, passages=passages, thoughts=" ".join(thoughts) or "none")).split())
        if not thought or thought in thoughts:
            break
        thoughts.append(thought)
        searches.append(await asked.search(len(searches), thought))
        if _DONE in thought.casefold():
            break
    return [hit.document for hit in fused(searches)]


async def agent(asked: Asked) -> list[Document]:
    """Let an agent search as it likes; what the question itself finds counts too."""
    from langchain.agents import create_agent

    searches = [await asked.search(0, asked.question)]

    @tool
    async def search(query: str) -> str:
        """Search the encyclopedia for passages, with a short query that names what is looked for."""
        if len(searches) > MOST_SEARCHES:
            return "No more searches are left. Give the answer."
        searches.append(await asked.search(len(searches), query))
        found = searches[-1].documents[:_READ]
        return "\n\n".join(document.page_content[:_SHOWN] for document in found) or "Nothing was found."

    chat_model: Any = asked.model
    graph: Any = create_agent(chat_model, tools=[search], system_prompt=_AGENT)
    # Two steps of the graph to a search, the last reply, and one to spare.
    limited: RunnableConfig = {**asked.config, "recursion_limit": 2 * MOST_SEARCHES + 4}
    await graph.ainvoke({"messages": [HumanMessage(asked.question)]}, limited)
    return [hit.document for hit in fused(searches)]


SEARCHERS: dict[str, Callable[[Asked], Awaitable[list[Document]]]] = {
    REWRITE: rewrite,
    MULTIQUERY: multiquery,
    IRCOT: ircot,
    AGENT: agent,
}


def parse_queries(reply: str, most: int) -> list[str]:
    """Return the queries in a reply, one a line; none where there is none."""
    lines = [
        line.strip().removeprefix("Query:").lstrip("-*0123456789.) ").strip(" \"'`") for line in reply.splitlines()
    ]
    return [*dict.fromkeys(line for line in lines if line)][:most]
