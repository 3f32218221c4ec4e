"""Replies that follow a schema: `ChatGGUF.with_structured_output`, and a solver's final answer."""

import json
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.unwrap import models, rewrap

_METHODS = ("json_schema", "function_calling", "json_mode")


def structured_output(
    model: BaseChatModel, schema: dict[str, Any] | type, method: str, include_raw: bool, options: Mapping[str, Any]
) -> Runnable[Any, Any]:
    """Return `model` held to a schema, and what reads its reply; see `ChatGGUF.with_structured_output`."""
    if method not in _METHODS:
        raise ConfigurationError(f"method is {method!r}; it must be one of {', '.join(_METHODS)}.")
    if unknown := sorted(set(options) - {"strict"}):
        raise ConfigurationError(f"with_structured_output does not know {', '.join(unknown)}.")
    wanted = convert_to_json_schema(schema)
    response_format: dict[str, Any] = {"type": "json_object"}
    if method != "json_mode":
        response_format = {"type": "json_schema", "json_schema": {"name": wanted.get("title"), "schema": wanted}}
    noted = {"kwargs": {"method": method}, "schema": schema}
    llm = model.bind(response_format=response_format, ls_structured_output_format=noted)
    return llm | reader(schema) if not include_raw else RunnableMap(raw=llm) | reader_with_raw(schema)


def reader(schema: Any) -> Runnable[Any, Any]:
    """Return what reads a reply that is a schema's JSON: an object of a Pydantic class; of any other schema, a dict."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser(pydantic_object=schema)
    return JsonOutputParser()


def reader_with_raw(schema: Any) -> Runnable[Any, Any]:
    """Return what adds to `{"raw": reply}` what was read, as "parsed", and what went wrong, as "parsing_error"."""
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | reader(schema), parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def can_hold(model: Any) -> bool:
    """Return whether each model behind a Runnable can be held to a schema."""
    return all(hasattr(one, "with_structured_output") for one, _ in models(model))


def held_to(model: Any, schema: Any, write: Callable[[Any], str]) -> Runnable[Any, Any]:
    """Return a chat model held to a schema, its reply written anew; one that cannot be read stays as it was.

    `with_structured_output` itself leaves out what is bound to a model, what a config chooses, and a call's arguments.
    `write` makes the reply's text of what was read.

    Raises:
        ConfigurationError: The model's structured output is no sequence that begins with the model.
    """

    def change(one: Any, bound: dict[str, Any]) -> Runnable[Any, Any]:
        steps = one.with_structured_output(schema)
        if not (isinstance(steps, RunnableSequence) and isinstance(steps.first, RunnableBinding)):
            raise ConfigurationError(
                f"with_structured_output of {type(one).__name__} returns a {type(steps).__name__} where a bound model "
                "and its parser were expected. Ask for the answer as text: Solver(structured=False)."
            )
        # What is bound to the model stands below what holds it to the schema.
        asked: Runnable[Any, Any] = steps.first.model_copy(update={"bound": steps.first.bound.bind(**bound)})
        read = steps.steps[1] if len(steps.steps) == 2 else RunnableSequence(*steps.steps[1:])

        def rewritten(message: AIMessage, config: RunnableConfig) -> AIMessage:
            try:
                text = write(read.invoke(message, config))
            except Exception:  # each provider's parser raises its own
                return message
            return message.model_copy(update={"content": text, "tool_calls": []})

        return asked | RunnableLambda(rewritten)

    changed: Runnable[Any, Any] = rewrap(model, change)
    return changed


def schema_tokens(schema: Any) -> int:
    """Return more than a schema takes in a prompt: a token a byte."""
    return len(json.dumps(convert_to_json_schema(schema)).encode())


def render_json(value: Any) -> str:
    """Return an object of a Pydantic class, or plain values, as JSON."""
    return value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value, ensure_ascii=False)
