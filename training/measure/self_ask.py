"""Dynamic decomposition: the solver asks itself one subquestion after another, with a call for each.

What static plans are compared with: the next subquestion may depend on all that was answered before, and every call
reads it again.
"""

import re
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_divconq.answers import parse_answer
from langchain_divconq.calls import as_message
from langchain_divconq.prompts import ANSWER_MARKER, render_question
from langchain_divconq.types import Question

SELF_ASK_VERSION = "1"
"""Changes with every change of a text below."""

MAX_FOLLOW_UPS = 5
"""After so many the answer itself is asked for."""

_FOLLOW_UP = "Follow-up:"
_LINE = f"one line that begins with '{ANSWER_MARKER}' and holds the answer alone, as short as possible."
_INSTRUCTIONS = (
    "Work in rounds, and reply with one round at a time.\n"
    "While something is still to be found out, a round is one simpler question to yourself, with its answer:\n"
    f"{_FOLLOW_UP} the simpler question\n"
    "the working, step by step\n"
    "So: what it comes to\n"
    "Once enough is known, the last round works out the answer to the question itself, without "
    f"'{_FOLLOW_UP}', and ends with {_LINE}"
)
_NEXT = (
    f"The next round: another '{_FOLLOW_UP}' if something is missing, or else the last round with '{ANSWER_MARKER}'."
)
_CLOSE = f"That is enough. Now the last round: think step by step, show your working, and end with {_LINE}"

_MARK = re.compile(rf"^[\W_]*{re.escape(_FOLLOW_UP)}", re.MULTILINE | re.IGNORECASE)
_ANSWERED = re.compile(rf"^[\W_]*{re.escape(ANSWER_MARKER)}", re.MULTILINE | re.IGNORECASE)


class SelfAsked(NamedTuple):
    """What a solver said in the end."""

    text: str
    """Its last reply."""
    answer: str | None
    """The answer in it; None: it marks none."""
    follow_ups: int
    """How many rounds came before it."""


async def self_ask(model: Runnable[Any, Any], question: Question, config: RunnableConfig | None = None) -> SelfAsked:
    """Return what a solver answers after the subquestions it asks itself.

    A reply that marks an answer is the last, whatever else it holds. Of one that runs ahead, the first round alone
    counts, so that each subquestion has a call of its own.
    """
    messages = first_prompt(question)
    for rounds in range(MAX_FOLLOW_UPS):
        text = as_message(await model.ainvoke(messages, config)).text
        if not text.strip() or _ANSWERED.search(text):
            return SelfAsked(text, parse_answer(text), rounds)
        ask = _CLOSE if rounds == MAX_FOLLOW_UPS - 1 else _NEXT
        messages = [*messages, AIMessage(first_round(text)), HumanMessage(ask)]
    text = as_message(await model.ainvoke(messages, config)).text
    return SelfAsked(text, parse_answer(text), MAX_FOLLOW_UPS)


def first_prompt(question: Question) -> list[BaseMessage]:
    """Return the messages of the first call."""
    return [*question.history, HumanMessage(f"{render_question(question)}\n\n{_INSTRUCTIONS}")]


def first_round(text: str) -> str:
    """Return a reply up to where a second subquestion begins."""
    marks = [match.start() for match in _MARK.finditer(text)]
    return text[: marks[1]].rstrip() if len(marks) > 1 else text.strip()
