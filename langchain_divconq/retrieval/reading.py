"""Readers: the interface {subquestion, documents} → answer, and the models and functions that fit it."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableSequence
from langchain_core.runnables.base import coerce_to_runnable
from typing_extensions import TypedDict  # pydantic reads this TypedDict alone before Python 3.12

from langchain_divconq.answers import read_reply
from langchain_divconq.calls import as_message, encodable
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.prompts import UNKNOWN, reading_prompt
from langchain_divconq.retrieval.hops import MOST_CANDIDATES
from langchain_divconq.solver import Solver
from langchain_divconq.unwrap import is_chat_model, named_model

_NOT_FOUND = re.compile(
    rf"{UNKNOWN}|none|n/?a|not (?:stated|mentioned|given|specified|known|found|provided|available)\b.*"
    r"|(?:i (?:do not|don.t|cannot|can.t)|(?:i.m |i am )(?:sorry|unable|not able)"
    r"|(?:the|these) documents? do(?:es)?(?: not|n.t))\b.*",
    re.IGNORECASE | re.DOTALL,
)


class Reading(TypedDict):
    """What a reader is given: a subquestion, references filled in, and what was found for it, best first."""

    subquestion: str
    documents: list[Document]


ReaderLike: TypeAlias = Runnable[Any, Any] | Solver | Callable[[Any], Any] | str
"""What may read: a chat model or its name, a `Solver` (its model is asked), or what takes a `Reading` and returns the
answer as text or a message, several as a list, likeliest first, None where the documents do not tell."""


def as_reader(value: object) -> object:
    """Return a Runnable that reads; what cannot be one, as it is. A name fails as `named_model` does."""
    if isinstance(value, str):
        return named_model("reader", value)
    if isinstance(value, Solver):
        return value.model
    return coerce_to_runnable(value) if callable(value) and not isinstance(value, Runnable) else value


def reader_input(reader: Runnable[Any, Any], subquestion: str, documents: Sequence[Document]) -> Any:
    """Return what a reader is given: messages where it begins with a chat model, else a `Reading`."""
    if _takes_messages(reader):
        return reading_prompt(subquestion, [document.page_content for document in documents])
    return Reading(subquestion=subquestion, documents=[*documents])


def read_answers(reader: Runnable[Any, Any], output: object) -> tuple[str, ...]:
    """Return the answers in a reader's output, likeliest first; empty: the documents do not tell.

    Raises:
        ConfigurationError: It is neither text, a message, a list of texts nor None.
    """
    if output is None:
        return ()
    if isinstance(output, (list, tuple)) and all(isinstance(answer, str) for answer in output):
        given = [parse_reading(encodable(answer), is_told=False) for answer in output]
        return tuple(dict.fromkeys(answer for answer in given if answer is not None))[:MOST_CANDIDATES]
    if not isinstance(output, (str, BaseMessage, dict)):
        raise ConfigurationError(
            f"The reader must return text, a message, a list of texts or None, got {type(output).__name__}. "
            "End it with the step that gives the answer."
        )
    text = as_message(output).text
    answer = parse_reading(text, is_told=_takes_messages(reader))
    return () if answer is None else (answer,)


def parse_reading(text: str, *, is_told: bool = True) -> str | None:
    """Return the answer in a reader's reply; None where it gives none, or says that the documents do not tell.

    `is_told`: it was told how to mark the answer, as a chat model is; if not, what is not marked is one whole.
    """
    answer = read_reply(text, is_told=is_told)
    return None if answer is None or _NOT_FOUND.fullmatch(answer) else answer


def _takes_messages(reader: Runnable[Any, Any]) -> bool:
    return is_chat_model(reader.first if isinstance(reader, RunnableSequence) else reader)
