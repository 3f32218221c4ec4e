"""Reads and checks the body of a chat completion, and words what its sender is told of an error."""

import json
from typing import Any, NamedTuple

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_divconq.errors import (
    ConfigurationError,
    ContextLengthError,
    DivConqError,
    GrammarError,
    InvalidQuestionError,
    InvalidWeightsError,
    WeightsNotFoundError,
)

_MOST_GRAMMAR = 8_000  # characters of a grammar, or of a schema as JSON: a plan's takes under 2,000
_ROLES = {"system": SystemMessage, "developer": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
_OPTIONS = (
    *("temperature", "top_p", "top_k", "seed", "num_beams"),
    *("grammar", "response_format", "logprobs", "top_logprobs"),
)
_OWN_FAULT = (WeightsNotFoundError, InvalidWeightsError)


class Refusal(Exception):
    """A request that is not answered.

    `code` is OpenAI's name for it, where it has one.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Asked(NamedTuple):
    """A chat completion's body, read and checked."""

    messages: list[BaseMessage]
    stop: list[str] | None
    options: dict[str, Any]
    stream: bool
    usage_in_stream: bool


def read_body(data: bytes) -> Asked:
    """Return what a chat completion's body asks; a Refusal says what there is not."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not JSON in UTF-8.") from None
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise Refusal(400, "The body must be a JSON object with a list of messages.")
    if body.get("n", 1) not in (1, None) or body.get("tools") or body.get("functions"):
        raise Refusal(400, "This server gives one reply (n) and knows no tools.")
    options = {name: body[name] for name in _OPTIONS if body.get(name) is not None}
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    for name in ("grammar", "response_format"):
        size = len(json.dumps(options.get(name)))
        if size > _MOST_GRAMMAR:
            raise Refusal(400, f"{name} has {size:,} characters; this server takes {_MOST_GRAMMAR:,}.")
    stop = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop")
    if stop is not None and not (isinstance(stop, list) and len(stop) <= 16 and len(json.dumps(stop)) <= 2000):
        raise Refusal(400, "stop is a string, or a list of at most 16 short ones.")
    shown = body.get("stream_options")
    return Asked(
        [_message(message) for message in body["messages"]],
        stop,
        options,
        body.get("stream") is True,
        isinstance(shown, dict) and shown.get("include_usage") is True,
    )


def _message(message: Any) -> BaseMessage:
    kind = _ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
    content = message.get("content") if kind else None
    blocks = isinstance(content, list) and all(isinstance(block, dict) for block in content)
    if kind is None or not (isinstance(content, str) or blocks):
        raise Refusal(400, f"A message has a role ({', '.join(_ROLES)}) and a content, which is text.")
    made: BaseMessage = kind(content=content)
    return made


def as_refusal(error: Exception) -> Refusal:
    """Return what a client is told of an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ContextLengthError):
        return Refusal(400, str(error), "context_length_exceeded")
    if isinstance(error, (ConfigurationError, InvalidQuestionError, GrammarError)):
        return Refusal(400, str(error))
    if isinstance(error, ModelTimeoutError):
        return Refusal(504, "The reply was not complete in time.")
    if isinstance(error, DivConqError) and not isinstance(error, _OWN_FAULT):
        return Refusal(500, "The model failed.")
    return Refusal(500, "The server failed.")


def usage(message: BaseMessage) -> dict[str, Any]:
    """Return a reply's token counts in OpenAI's names."""
    counts = getattr(message, "usage_metadata", None) or {}
    return {
        "prompt_tokens": counts.get("input_tokens", 0),
        "completion_tokens": counts.get("output_tokens", 0),
        "total_tokens": counts.get("total_tokens", 0),
        "prompt_tokens_details": {"cached_tokens": counts.get("input_token_details", {}).get("cache_read", 0)},
    }
