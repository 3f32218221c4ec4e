"""A chat model for agents: what it says next, tool calls included, is a function of the messages it is sent."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field


class AgentModel(BaseChatModel):
    """Replies with `reply(messages)`, word by word in a stream.

    Attributes:
        reply: Messages to the next one.
        seen: What it was sent, call by call.
    """

    reply: Callable[[list[BaseMessage]], AIMessage]
    seen: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "agent-model"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.seen.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.reply(messages))])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.seen.append(messages)
        message = self.reply(messages)
        calls = [
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=position)
            for position, call in enumerate(message.tool_calls)
        ]
        pieces = [AIMessageChunk(content=word) for word in message.text.split(" ")] if message.text else []
        for piece in [*pieces, AIMessageChunk(content="", tool_call_chunks=calls, chunk_position="last")]:
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece.text, chunk=chunk)
            yield chunk


def calls(tool: str, **arguments: Any) -> AIMessage:
    """Return a message that calls a tool."""
    call = {"name": tool, "args": arguments, "id": f"call-{tool}-{len(arguments)}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def in_turn(*replies: AIMessage) -> AgentModel:
    """Return a model that answers each question with these messages, one after each result of a tool."""

    def reply(messages: list[BaseMessage]) -> AIMessage:
        last_question = max(n for n, message in enumerate(messages) if isinstance(message, HumanMessage))
        results = sum(isinstance(message, ToolMessage) for message in messages[last_question:])
        return replies[results].model_copy()

    return AgentModel(reply=reply)
