"""Messages and options of a chat model's call, checked and in plain values, and what its reply reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.llamacpp.engines.base import Completion, Request, Token, TokenLogprob
from langchain_divconq.llamacpp.engines.json_schema import schema_grammar

# Option: lowest and highest value (None: no bound). llama.cpp reads the seed 2**32 - 1 as "any".
_RANGES: dict[str, tuple[float | None, float | None]] = {
    "n_ctx": (0, None),
    "n_threads": (1, None),
    "n_slots": (1, 64),
    "n_gpu_layers": (-1, None),
    "max_tokens": (1, None),
    "temperature": (0, None),
    "top_k": (0, None),
    "top_p": (0, 1),
    "seed": (0, 2**32 - 2),
    "num_beams": (1, 16),
    "timeout": (0, None),
    "top_logprobs": (0, 1000),
}
_WHOLE = set(_RANGES) - {"temperature", "top_p", "timeout"}
_CALL_OPTIONS = {field.name for field in fields(Request)} - {"prompt"} | {"response_format", "logprobs"}
_LANGCHAIN_OPTIONS = {"stream", "ls_structured_output_format", "structured_output_format"}
_ROLES = {"human": "user", "ai": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def check_ranges(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an option that is out of range; None counts as not given."""
    for name, value in options.items():
        low, high = _RANGES.get(name, (None, None))
        if value is None or name not in _RANGES:
            continue
        number = isinstance(value, int if name in _WHOLE else (int, float)) and not isinstance(value, bool)
        if not number or (low is not None and not value >= low) or (high is not None and value > high):
            kind = "a whole number" if name in _WHOLE else "a number"
            bounds = f"of at least {low:g}" if high is None else f"from {low:g} to {high:.10g}"
            raise ConfigurationError(f"{name} is {value!r}; it must be {kind} {bounds}.")
    stop = options.get("stop")
    if stop is not None and (isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop)):
        raise ConfigurationError(f"stop is {stop!r}; it must be a list of strings, none of them empty.")


def read_options(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Request, tuple[str, ...]]:
    """Return what a call asks of an engine, but for the prompt, and its stop strings: `given` goes before `defaults`.

    Raises:
        ConfigurationError: An option is unknown, out of range, or at odds with another.
        GrammarError: The schema of the reply cannot be turned into a grammar.
    """
    given = {name: value for name, value in given.items() if value is not None and name not in _LANGCHAIN_OPTIONS}
    if unknown := sorted(set(given) - _CALL_OPTIONS):
        known = ", ".join(sorted(_CALL_OPTIONS | {"stop"}))
        raise ConfigurationError(f"A GGUF chat model does not know {', '.join(unknown)}. A call takes {known}.")
    options = {**defaults, **given}
    check_ranges(options)
    grammar, schema = options.pop("grammar", None), _schema(options.pop("response_format", None))
    if grammar is not None and schema is not None:
        raise ConfigurationError("A call takes a grammar or a response_format, not both.")
    if grammar is not None and not isinstance(grammar, str):
        raise ConfigurationError(f"grammar is {type(grammar).__name__}; it must be GBNF, as text.")
    top, wanted = options.pop("top_logprobs", None), options.pop("logprobs", None)
    if top is not None and wanted is False:
        raise ConfigurationError("top_logprobs asks for log-probabilities and logprobs=False for none.")
    stop = tuple(options.pop("stop") or ())
    if schema is not None:
        grammar = schema_grammar(json.dumps(schema))
    return Request("", grammar=grammar, top_logprobs=top or 0 if wanted or top is not None else None, **options), stop


def chat_roles(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """Return messages as chat templates take them: `role` and `content`.

    Neighbours of one role become one message, with a blank line between them: many templates demand that user and
    assistant alternate.

    Raises:
        InvalidQuestionError: There are none, or one holds something else than text, or calls a tool.
    """
    if not messages:
        raise InvalidQuestionError("There are no messages to answer.")
    roles: list[dict[str, str]] = []
    for message in messages:
        role, content = _role(message), _text(message).encode(errors="replace").decode()  # no lone surrogates
        if roles and roles[-1]["role"] == role:
            roles[-1]["content"] += f"\n\n{content}"
        else:
            roles.append({"role": role, "content": content})
    return roles


def usage_metadata(completion: Completion) -> UsageMetadata:
    """Return a generation's token counts as LangChain reports them."""
    return UsageMetadata(
        input_tokens=completion.prompt_tokens,
        output_tokens=completion.completion_tokens,
        total_tokens=completion.prompt_tokens + completion.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=completion.cached_tokens),
    )


def found_by_beams(completion: Completion, request: Request) -> list[dict[str, Any]]:
    """Return the replies of a beam search as JSON has them; none where log-probabilities were not asked for."""
    if request.top_logprobs is None:
        return []
    return [{**asdict(reply), "logprobs": list(reply.logprobs)} for reply in completion.found]


def openai_logprobs(tokens: Sequence[Token], beams: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the log-probabilities in OpenAI's shape, with the replies of a beam search beside them (`beams`).

    Nothing where they were not asked for.
    """
    content = [
        {**_entry(token.logprob), "top_logprobs": [_entry(other) for other in token.top_logprobs]}
        for token in tokens
        if token.logprob is not None
    ]
    found = {**({"content": content} if content else {}), **({"beams": [*beams]} if beams else {})}
    return {"logprobs": found} if found else {}


def _entry(logprob: TokenLogprob) -> dict[str, Any]:
    return {"token": logprob.token, "logprob": logprob.logprob}


def _role(message: BaseMessage) -> str:
    role = message.role if isinstance(message, ChatMessage) else message.type.removesuffix("MessageChunk").lower()
    calls_tool = isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls)
    if role not in _ROLES or calls_tool:
        what = "an AI message that calls a tool" if calls_tool else f"a message of the role {role!r}"
        raise InvalidQuestionError(f"A GGUF chat model cannot read {what}; it takes system, human and AI messages.")
    return _ROLES[role]


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        text = block if isinstance(block, str) else block.get("text") if block.get("type") == "text" else None
        if not isinstance(text, str):
            kind = block.get("type") if isinstance(block, dict) else type(block).__name__
            raise InvalidQuestionError(
                f"A GGUF chat model reads text alone, and a message holds a block of type {kind!r}."
            )
        texts.append(text)
    return "".join(texts)


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if response_format is None or kind == "text":
        return None
    if kind == "json_object":
        schema = response_format.get("schema", {"type": "object"})
    elif kind == "json_schema":
        inner = response_format.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else response_format.get("schema")
    else:
        raise ConfigurationError(
            f"response_format is {response_format!r}; it must be a dict of the type json_object, json_schema or text."
        )
    if not isinstance(schema, Mapping):
        raise ConfigurationError(f"The schema in response_format must be a dict, and is {schema!r}.")
    return schema
