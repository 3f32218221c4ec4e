"""The folder of text in `examples/library`, a plain retriever over it, and the plans and answers written for it."""

import json
import re
from dataclasses import dataclass
from typing import Any

from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever

from langchain_divconq.retrieval import Reading
from langchain_divconq.types import Decomposition, Question, fill_references
from tests.repository import ROOT

LIBRARY = ROOT / "examples" / "library"


@dataclass(frozen=True)
class Asked:
    """A question over the library.

    Attributes:
        subquestions: As a good decomposer divides it; empty: one passage answers it.
        answers: To the subquestions, in the passages' words.
        passages: The names of those that are needed.
    """

    question: str
    subquestions: list[str]
    answers: list[str]
    passages: list[str]


QUESTIONS = [Asked(**asked) for asked in json.loads((LIBRARY / "questions.json").read_text(encoding="utf-8"))]


def documents() -> list[Document]:
    paths = sorted(LIBRARY.glob("*.txt"))
    return [Document(path.read_text(encoding="utf-8"), metadata={"name": path.stem}) for path in paths]


def plain(k: int) -> BaseRetriever:
    """Return langchain-community's BM25 retriever over the library, as the example makes it."""
    retriever: Any = BM25Retriever.from_documents(documents(), preprocess_func=_words, k=k)
    assert isinstance(retriever, BaseRetriever)
    return retriever


def divide(question: Question) -> Decomposition:
    """Divide a question of the library as its plan says."""
    [asked] = [asked for asked in QUESTIONS if asked.question == question.text]
    return Decomposition(question=question, subquestions=tuple(asked.subquestions))


def read(messages: list[BaseMessage]) -> str:
    """Answer a filled subquestion of the library, if the passages that are shown hold its answer."""
    text = messages[-1].text
    match = re.search(r"^Question: (.*)$", text, re.MULTILINE)
    return f"Answer: {_answer(match[1] if match else '', text) or 'unknown'}"


def read_documents(given: Reading) -> str | None:
    """Answer as `read` does, without a chat model's manners: a reader."""
    return _answer(given["subquestion"], " ".join(document.page_content for document in given["documents"]))


def _answer(subquestion: str, text: str) -> str | None:
    known = {
        fill_references(asked_for, dict(enumerate(asked.answers, start=1))): answer
        for asked in QUESTIONS
        for asked_for, answer in zip(asked.subquestions, asked.answers, strict=True)
    }
    answer = known.get(subquestion)
    return answer if answer and answer in " ".join(text.split()) else None


def names(found: list[Document]) -> list[str]:
    return [document.metadata["name"] for document in found]


def _words(text: str) -> list[str]:
    return re.findall(r"\w{4,}", text.lower())
