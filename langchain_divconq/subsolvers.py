"""Subsolvers, which answer a subquestion in the solver's place: a chain, an agent, another model."""

from collections.abc import Callable
from typing import Any, TypeAlias

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.types import Question

Route: TypeAlias = Callable[[str, Question], Runnable[Any, Any] | None]
"""Picks who answers a subquestion, its references filled in, of a question; None: the solver's own model."""


def pick(
    subsolver: Runnable[Any, Any] | Route | None, subquestion: str, question: Question
) -> Runnable[Any, Any] | None:
    """Return who answers a subquestion; None: the solver's own model."""
    if subsolver is None or isinstance(subsolver, Runnable):
        return subsolver
    picked: object = subsolver(subquestion, question)
    if picked is None or isinstance(picked, Runnable):
        return picked
    raise ConfigurationError(
        f"The function given as subsolver must return a Runnable or None, got {type(picked).__name__}."
    )


def subsolver_input(runnable: Runnable[Any, Any], subquestion: str) -> Any:
    """Return the subquestion as the Runnable takes it: an agent or graph in a state with messages, others as text."""
    try:
        fields = getattr(runnable.InputType, "__annotations__", {})
    except TypeError:  # it does not tell
        fields = {}
    return {"messages": [HumanMessage(subquestion)]} if "messages" in fields else subquestion
