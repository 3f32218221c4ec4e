"""Replies that follow a schema, for `ChatGGUF.with_structured_output`."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_divconq.errors import ConfigurationError

_METHODS = ("json_schema", "function_calling", "json_mode")


def structured_output(
    model: BaseChatModel, schema: dict[str, Any] | type, method: str, include_raw: bool, options: Mapping[str, Any]
) -> Runnable[Any, Any]:
    """Return `model` held to a schema, followed by what reads its reply.

    Raises:
        ConfigurationError: The method or an option is unknown.
    """
    if method not in _METHODS:
        raise ConfigurationError(f"method is {method!r}; it must be one of {', '.join(_METHODS)}.")
    if unknown := sorted(set(options) - {"strict"}):
        raise ConfigurationError(f"with_structured_output does not know {', '.join(unknown)}.")
    parser: Any = JsonOutputParser()
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        parser = PydanticOutputParser(pydantic_object=schema)
    wanted = convert_to_json_schema(schema)
    response_format: dict[str, Any] = {"type": "json_object"}
    if method != "json_mode":
        response_format = {"type": "json_schema", "json_schema": {"name": wanted.get("title"), "schema": wanted}}
    noted = {"kwargs": {"method": method}, "schema": schema}
    llm = model.bind(response_format=response_format, ls_structured_output_format=noted)
    if not include_raw:
        read: Runnable[Any, Any] = llm | parser
        return read
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    reading: Runnable[Any, Any] = parsed.with_fallbacks([unparsed], exception_key="parsing_error")
    return RunnableMap(raw=llm) | reading
