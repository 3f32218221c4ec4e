"""Clients of the server in `llama_server`, apart from it, for it starts without their packages."""

from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.integration_tests.llama_server import API_KEY, MODEL_NAME


def connect(address: str, **fields: Any) -> ChatOpenAI:
    """Return the provider's client, pointed at a server."""
    fields = {"temperature": 0, "max_completion_tokens": 48, "stream_usage": True, "max_retries": 0, **fields}
    return ChatOpenAI(model=MODEL_NAME, base_url=f"{address}/v1", api_key=SecretStr(API_KEY), **fields)
