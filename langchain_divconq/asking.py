"""Asks a decomposer in one way for the chain, the retriever, the middleware and the tools."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.exceptions import (
    LangChainException,
    ModelAuthenticationError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
)
from langchain_core.runnables import Runnable
from pydantic import BeforeValidator

from langchain_divconq.calls import Call, Stage, encodable
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import (
    AdapterMismatchError,
    ConfigurationError,
    DivConqError,
    EngineNotInstalledError,
    GrammarError,
    InvalidWeightsError,
)
from langchain_divconq.types import Decomposition, Question
from langchain_divconq.unwrap import is_chat_model

logger = logging.getLogger(__name__)

OnTrouble: TypeAlias = Literal["go_on", "raise"]
"""What happens when a helper fails: go on without its help, with a logged reason, or raise its error."""

BROKEN_SETUP = (
    ConfigurationError,
    EngineNotInstalledError,
    InvalidWeightsError,
    AdapterMismatchError,
    GrammarError,
    ModelNotFoundError,  # missing weights are one
    ModelAuthenticationError,
    ModelPermissionDeniedError,
)
"""Errors that every question meets in the same way: to go on would hide that nothing is ever divided."""

RUN_NAME = "divconq:decompose"
"""The decomposer's run in a trace, and its tag."""


def as_decomposer(value: Any, **settings: Any) -> Any:
    """Return a Decomposer, with these settings, made of a chat model or its name; anything else as it is."""
    return Decomposer(value, **settings) if isinstance(value, (str, Path)) or is_chat_model(value) else value


DecomposerLike: TypeAlias = Annotated[Runnable[Any, Any], BeforeValidator(lambda value: as_decomposer(value))]
"""A field for a decomposer, which a chat model or its name may stand for."""


def ask_decomposer(
    decomposer: Runnable[Any, Any], question: Question, on_trouble: OnTrouble = "go_on"
) -> Stage[Decomposition]:
    """Ask for the decomposition of a question, its tokens kept out of a graph's message stream.

    The call does not count among those that `max_concurrency` limits: they are the solver's.

    Args:
        decomposer: Any Runnable from `Question` to `Decomposition`.
        question: What to divide. The decomposition holds this very question, whatever the decomposer made of it.
        on_trouble: What happens when the decomposer fails, for whatever reason but a broken set-up: "go_on" leaves the
            question whole, says so in the decomposition's reason and logs a warning; "raise" raises.

    Raises:
        ConfigurationError: The decomposer returned something else.
    """
    [reply] = yield [Call(decomposer, question, RUN_NAME, may_fail=True, waits=False)]
    if reply.error is not None:
        if on_trouble == "raise" or is_for_the_caller(reply.error):
            raise reply.error
        reason = f"the decomposer failed: {in_one_line(reply.error)}"
        logger.warning("The question stays whole, since %s", reason)
        return Decomposition(question=question, reason=reason, text=getattr(reply.error, "llm_output", None) or "")
    if not isinstance(reply.output, Decomposition):
        raise ConfigurationError(
            f"The decomposer must return a Decomposition, got {type(reply.output).__name__}. Pass a Decomposer, a chat "
            "model, or a Runnable from Question to Decomposition."
        )
    # A decomposer may hand back a copy of the question that has lost its context, or, through JSON, its history.
    plan, text = (encodable(written) for written in ([*reply.output.subquestions], reply.output.text))
    return reply.output.model_copy(update={"question": question, "subquestions": tuple(plan), "text": text})


def is_for_the_caller(error: Exception) -> bool:
    """Return whether an error is to be raised whatever `on_trouble` says: a broken set-up, or a graph's interrupt."""
    langgraph = sys.modules.get("langgraph.errors")  # an interrupt travels as an exception, and the graph waits for it
    return isinstance(error, BROKEN_SETUP) or (langgraph is not None and isinstance(error, langgraph.GraphBubbleUp))


def in_one_line(error: Exception) -> str:
    """Return what an error says, shortened to a line; with its name where it is neither ours nor LangChain's."""
    line = str(error).strip().partition("\n")[0]
    if isinstance(error, (DivConqError, LangChainException)):
        return line or type(error).__name__
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
