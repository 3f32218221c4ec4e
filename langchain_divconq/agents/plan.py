"""What the tools and the middleware share: how a decomposer is called inside an agent, and how its plan is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.subsolvers import is_chat_model
from langchain_divconq.types import Decomposition, Question

RUN_NAME = "divconq:decompose"
"""The decomposer's run in a trace, and its tag."""


def as_decomposer(value: Any) -> Any:
    """Return a decomposer made of a chat model; anything else as it is."""
    return Decomposer(model=value) if is_chat_model(value) else value


def decompose(decomposer: Runnable[Any, Any], question: Question, config: RunnableConfig) -> Decomposition:
    """Return the decomposition of a question, its tokens kept out of a graph's message stream.

    Args:
        decomposer: Any Runnable from `Question` to `Decomposition`.
        question: What to divide.
        config: The config of the run that this call is a child of.

    Raises:
        ConfigurationError: The decomposer returned something else.
    """
    return _checked(decomposer.invoke(question, _quiet(config)))


async def adecompose(decomposer: Runnable[Any, Any], question: Question, config: RunnableConfig) -> Decomposition:
    """Return the same without blocking the event loop."""
    return _checked(await decomposer.ainvoke(question, _quiet(config)))


def render_subquestions(subquestions: Sequence[str]) -> str:
    """Return the subquestions numbered, one on each line."""
    return "\n".join(f"{number}. {subquestion}" for number, subquestion in enumerate(subquestions, start=1))


def _quiet(config: RunnableConfig) -> RunnableConfig:
    return merge_configs(config, {"tags": [RUN_NAME, "nostream"], "run_name": RUN_NAME})


def _checked(decomposition: object) -> Decomposition:
    if isinstance(decomposition, Decomposition):
        return decomposition
    raise ConfigurationError(f"The decomposer must return a Decomposition, got {type(decomposition).__name__}.")
