"""Bring your own GGUF: as a chat model with structured output, and as decomposer and solver of a chain.

Usage: python examples/own_gguf.py [MODEL.gguf]     (default: the embedded model)
"""

import sys
from pathlib import Path

from pydantic import BaseModel, Field

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer, Solver

path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
model = ChatGGUF(model_path=path, n_ctx=2048, max_tokens=96)


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    inhabitants: int


# Decoding is held to the schema, so even a tiny model's reply parses.
print(model.with_structured_output(City).invoke("Describe Paris as JSON: its name and number of inhabitants."))

chain = DivideAndConquer(decomposer=Decomposer(model=model), solver=Solver(model=model, mode="sequential"))
reply = chain.invoke("A tank holds 90 litres. Two thirds are used, then 5 litres are added. How much is in it?")
print(reply.text)
print(reply.usage_metadata)
