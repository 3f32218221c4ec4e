"""Every prompt text. Training and inference share this module, so a student is asked as it was taught.

A decomposer gets its instructions in a system message. A solver gets them with the question, in the user's message: a
chat's own system message stays as it is.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_divconq.excerpts import excerpt
from langchain_divconq.types import Question, SingleStage, Subanswer

PROMPT_VERSION = "4"
"""Changes with every change of a text below; results and caches are recorded under it. It did not change with excerpts
of long contexts: prompts with a context within the budget, all that students learned from, are the same."""

NO_DECOMPOSITION = "No decomposition needed."
"""What a decomposer writes instead of a plan when one step answers the question."""

ANSWER_MARKER = "Answer:"
"""What begins the last line of a solver's reply."""

UNKNOWN = "unknown"
"""What a solver answers where the documents it was given do not tell."""

PromptStyle: TypeAlias = Literal["student", "zero_shot", "one_shot"]
"""How a decomposer is asked: in one line, as students of `training/` are taught; with instructions; with these and a
worked demonstration."""

# Short, since a laptop reads it with every question and a training run with every example: what it leaves unsaid, the
# student has learned.
_STUDENT = "Split the question into {cap}."
_DECOMPOSE = (
    "Split the user's question into {cap}, numbered, one on each line, each ending with a question mark. "
    "Do not repeat the question itself and do not answer anything. "
    "Write #1 where a subquestion needs the answer to subquestion 1. "
    "If one step is enough, reply: " + NO_DECOMPOSITION
)
DEMONSTRATION = (
    "Rosa bakes 4 trays of 15 rolls and 3 trays of 12. She sells 38 rolls and packs the rest in bags of 2. "
    "How many bags does she fill?",
    "1. How many rolls does Rosa bake on 4 trays of 15?\n"
    "2. How many rolls does Rosa bake on 3 trays of 12?\n"
    "3. How many rolls are left if she sells 38 of #1 plus #2?",
)
"""The worked example that a model is shown with the style "one_shot": a question, and its plan."""

# A label of the prompt's own within a context (any page of questions and answers has some) is spelled another way, so
# that the question is the one behind the last label.
_LABEL = re.compile(r"\b(question|context)\s*:", re.IGNORECASE)

# A small solver that is told only to show its working gives the answer at once. Told what working is, and what follows
# when it is done, it works: 20 of 24 training problems right in place of 6 (1.5 B parameters; training/LOG.md).
_WORK = "step by step, in full sentences with every calculation."
_END = (
    f"When you are done, write the final answer on a last line of its own: '{ANSWER_MARKER}' and then the number, "
    "name, date or short phrase alone, without a unit or explanation."
)
_STEP_BY_STEP = f"First work it out {_WORK} {_END}"
_DIRECT = f"Reply with one line that begins with '{ANSWER_MARKER}' and holds the answer alone, as short as possible."


def decomposition_prompt(question: Question, max_subquestions: int, style: PromptStyle) -> list[BaseMessage]:
    """Return the messages that ask a model to decompose a question.

    Any model is shown no more than an excerpt of a long context: the solver reads it, and it would only be paid for
    twice. So models are compared, and students taught, on the same prompt.

    Args:
        question: What to decompose; its history is not shown.
        max_subquestions: The cap the instructions name.
        style: "student" for a model trained by this project's recipe; "zero_shot" or "one_shot" for any other.
    """
    cap = "one simpler subquestion" if max_subquestions == 1 else f"at most {max_subquestions} simpler subquestions"
    instructions = _STUDENT if style == "student" else _DECOMPOSE
    messages: list[BaseMessage] = [SystemMessage(instructions.format(cap=cap))]
    if style == "one_shot":
        asked, plan = DEMONSTRATION
        messages += [HumanMessage(f"Question: {asked}"), AIMessage(plan)]
    if question.context is not None:
        shown = _LABEL.sub(r"\1 -", excerpt(question.context, question.text))
        question = question.model_copy(update={"context": shown})
    return [*messages, HumanMessage(render_question(question))]


def render_question(question: Question) -> str:
    """Return the question with its context before it."""
    context = "" if question.context is None else f"Context: {question.context}\n\n"
    return f"{context}Question: {question.text}"


def single_stage_prompt(question: Question, style: SingleStage) -> list[BaseMessage]:
    """Return the messages that ask for the answer without subquestions."""
    instruction = _DIRECT if style == "direct" else _STEP_BY_STEP
    return _chat(question, f"{render_question(question)}\n\n{instruction}")


def fused_prompt(question: Question, subquestions: Sequence[str]) -> list[BaseMessage]:
    """Return the messages of the paper's second stage: question, context and all subquestions in one call."""
    lines = "\n".join(f"{number}. {subquestion}" for number, subquestion in enumerate(subquestions, start=1))
    # Called hints: told to answer the subquestions, a small solver answers them tersely and stops (training/LOG.md).
    return _chat(
        question,
        f"{render_question(question)}\n\nHints (#1 stands for the answer to the first):\n{lines}\n\n{_STEP_BY_STEP}",
    )


def subquestion_prompt(question: Question, subquestion: str, known: Sequence[Subanswer]) -> list[BaseMessage]:
    """Return the messages that ask one subquestion, with the answers known so far."""
    return _chat(
        question,
        f"{render_question(question)}\n\n{_facts(known)}To get there, answer only this subquestion:\n{subquestion}\n\n"
        f"{_STEP_BY_STEP}",
    )


def closing_prompt(question: Question, subanswers: Sequence[Subanswer]) -> list[BaseMessage]:
    """Return the messages that ask for the final answer once the subquestions have been answered."""
    return _chat(question, f"{render_question(question)}\n\n{_facts(subanswers)}{_STEP_BY_STEP}")


def reading_prompt(subquestion: str, documents: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that ask for the answer to one subquestion from the documents found for it."""
    texts = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(documents, start=1))
    return [
        HumanMessage(
            f"Documents:\n\n{texts}\n\nQuestion: {subquestion}\n\nAnswer from these documents alone. {_DIRECT} "
            f"If they do not tell, write '{ANSWER_MARKER} {UNKNOWN}'."
        )
    ]


def _facts(subanswers: Sequence[Subanswer]) -> str:
    if not subanswers:
        return ""
    lines = "\n".join(f"- {known.subquestion} {known.answer or '(no answer found)'}" for known in subanswers)
    return f"Found so far:\n{lines}\n\n"


def _chat(question: Question, text: str) -> list[BaseMessage]:
    return [*question.history, HumanMessage(text)]
