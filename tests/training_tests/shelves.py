"""Questions of shelves and jars, for the stages that ask a teacher or a solver."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from training.config import Config
from training.example import Example, load_examples


def example(shelves: int, **fields: Any) -> Example:
    """Return the question about so many shelves."""
    question = f"Ida has {shelves} shelves of 9 jars and breaks 4. How many jars are left?"
    values = {"id": f"own/{shelves}", "source": "jsonl", "split": "train", "question": question}
    return Example.model_validate({**values, **fields})


def shelves_in(messages: Sequence[BaseMessage]) -> int:
    """Return how many shelves a prompt's question is about."""
    return int(messages[-1].text.split("has ")[1].split(" ")[0])


def written(config: Config, name: str) -> list[Example]:
    """Return the examples that a stage left."""
    return list(load_examples(config.folder / name))
