"""Errors of a tool, told to the agent that called it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from langchain_core.exceptions import ContextOverflowError
from langchain_core.tools import BaseTool, ToolException

from langchain_divconq.errors import DivConqError

logger = logging.getLogger(__name__)


class MarksErrors(BaseTool):
    """A tool whose errors are tool messages of status "error"; without a tool call they are raised."""

    handle_tool_error: bool | str | Callable[[ToolException], Any] | None = True

    def run(self, tool_input: Any, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool; without a tool call there is no message to mark as an error, so it is raised."""
        return super(MarksErrors, self._marking(tool_call_id)).run(
            tool_input, *args, tool_call_id=tool_call_id, **kwargs
        )

    async def arun(self, tool_input: Any, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Do the same without blocking the event loop."""
        return await super(MarksErrors, self._marking(tool_call_id)).arun(
            tool_input, *args, tool_call_id=tool_call_id, **kwargs
        )

    def _marking(self, tool_call_id: str | None) -> Self:
        return self if tool_call_id is not None else self.model_copy(update={"handle_tool_error": False})


@contextmanager
def told_to_the_agent() -> Iterator[None]:
    """Raise errors about a question, ours and the models' overflow, as a ToolException, which an agent is told."""
    try:
        yield
    except (DivConqError, ContextOverflowError) as error:
        logger.warning("A tool call failed and the agent is told why: %s", error)
        raise ToolException(str(error)) from error
