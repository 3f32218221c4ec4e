"""Examples of ours, as short as can be."""

from typing import Any

import pytest

from training.config import DATA
from training.example import Example

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the benchmark data is not at {DATA}")


def example(name: str = "own/1", question: str = "Who?", **fields: Any) -> Example:
    """Return an example to train on, from the source that its id begins with."""
    known = {"id": name, "source": name.partition("/")[0], "split": "train", "question": question}
    return Example.model_validate(known | fields)
