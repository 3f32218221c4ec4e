"""The parts of documents that the shipped model makes: a diagram, a table over the library, a question that fails."""

from collections.abc import Sequence
from functools import lru_cache

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_divconq import ChatGGUF, DecomposedRetriever, Decomposer, Decomposition
from tests.library import QUESTIONS, Asked, divide, names, plain, read_documents

K = 4
"""Passages that each way may return."""

ASKED = "In which town was the architect of the lighthouse in which the painter Nils Brage died born?"
"""The question of the diagram."""

_READ_TOKENS = 32


def render_diagram() -> str:
    """Return the diagram of how a question is taken apart, with the plan that the shipped model writes."""
    plan = _numbered(Decomposer(gate="always").invoke(ASKED).subquestions)
    width = max(map(len, plan), default=0)
    lines = [
        f"  {ASKED}",
        "     │",
        "     ▼  the decomposer: 135M, in your process, no GPU, no key, no server",
        *(f"  {line:{width}}  ─▶ {_then(line)}" for line in plan),
        "     │",
        "     ▼  your retriever, any chat model",
        "  the passages of every hop, or the answer",
    ]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def render_library() -> str:
    """Return the table of what is found over the library: plainly, hop by hop, and with plans written by hand."""
    lines = ["| question | plain BM25 | hop by hop | plans and answers by hand |", "| --- | --- | --- | --- |"]
    for asked, plainly, handed in by_hand():
        ours = found(asked, hop_by_hop(asked.question)[1])
        cells = [f"{count} of {len(asked.passages)}" for count in (plainly, ours, handed)]
        lines.append(f"| {asked.question} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def render_failure() -> str:
    """Return the first question over the library for which not all is found, with its plan and what was found."""
    for asked in QUESTIONS:
        plan, documents = hop_by_hop(asked.question)
        if found(asked, documents) < len(asked.passages):
            lines = [asked.question, *_numbered(plan.subquestions or ("(left whole)",)), ""]
            lines += [f"needed: {', '.join(asked.passages)}", f"found:  {', '.join(names(documents))}"]
            return "```text\n" + "\n".join(lines) + "\n```\n"
    return f"Of the {len(QUESTIONS)} questions none fails today.\n"


def by_hand() -> list[tuple[Asked, int, int]]:
    """Return each question of the library with how many of its passages are found: plainly, and with written plans."""
    retriever = DecomposedRetriever(
        retriever=plain(K), reader=read_documents, decomposer=RunnableLambda(divide), k=K, on_trouble="raise"
    )
    rows = []
    for asked in QUESTIONS:
        plainly, handed = plain(K).invoke(asked.question), retriever.invoke(asked.question)
        rows.append((asked, found(asked, plainly), found(asked, handed)))
    return rows


@lru_cache
def hop_by_hop(question: str) -> tuple[Decomposition, list[Document]]:
    """Return the shipped model's plan for a question, and what is found with it while the embedded model reads."""
    retriever = DecomposedRetriever(retriever=plain(K), reader=ChatGGUF(max_tokens=_READ_TOKENS), k=K)
    plan: Decomposition = retriever.decomposer.invoke(question)
    planned = retriever.model_copy(update={"decomposer": RunnableLambda(lambda _: plan)})
    return plan, planned.invoke(question)


def found(asked: Asked, documents: Sequence[Document]) -> int:
    """Return how many of the passages that a question needs are among those returned."""
    return len({*asked.passages} & {*names([*documents])})


def _then(subquestion: str) -> str:
    return (
        "searched for, with the answer in place of #" if "#" in subquestion[2:] else "searched for, and its answer read"
    )


def _numbered(plan: Sequence[str]) -> list[str]:
    return [f"{number}. {subquestion}" for number, subquestion in enumerate(plan, start=1)]
