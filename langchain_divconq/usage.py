"""Usage: tokens, seconds and dollars, per stage. Everything here is immutable and adds up with `+` and `sum`."""

import math
from typing import Annotated, Any, Self, cast

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import BaseModel, ConfigDict, Field

_COUNTS = ("input_tokens", "output_tokens")
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """A record that flows: made once and never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Price(Record):
    """What a model costs, in US dollars per million tokens.

    Example:
        ```python
        Solver(model=model, price=Price(input=0.25, output=2.0))
        ```
    """

    input: NonNegative
    """Prompt tokens."""

    output: NonNegative
    """Generated tokens."""

    cached_input: NonNegative | None = None
    """Prompt tokens the provider had cached; None: the same as `input`."""

    def cost(self, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Return dollars for one call; `cached_tokens` are part of `input_tokens`."""
        cached = self.input if self.cached_input is None else self.cached_input
        evaluated_tokens = input_tokens - cached_tokens
        return (evaluated_tokens * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6


class _Sum(Record):
    """Adds up field by field, with its own kind alone; what is None adds nothing."""

    def __add__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        known = {
            name: [value for one in (self, other) if (value := getattr(one, name)) is not None]
            for name in type(self).model_fields
        }
        return type(self)(**{name: sum(values) if values else None for name, values in known.items()})

    def __radd__(self, other: int) -> Self:
        """Let `sum` start from its 0."""
        return self if other == 0 else NotImplemented


class StageUsage(_Sum):
    """What one stage used, over one or many calls.

    Example:
        ```python
        print(solution.usage.decompose.output_tokens, solution.usage.decompose.seconds)
        ```
    """

    calls: Count = 0
    """Model calls made."""

    unmetered_calls: Count = 0
    """Those of them whose model reported no token counts; their tokens are missing below."""

    cached_calls: Count = 0
    """Those of them that LangChain's cache answered: they used no model, so no tokens and no dollars."""

    input_tokens: Count = 0
    """Prompt tokens, cached ones included."""

    cached_tokens: Count = 0
    """Prompt tokens whose processed state the model had kept."""

    output_tokens: Count = 0
    """Generated tokens."""

    seconds: NonNegative = 0.0
    """Time spent waiting for the model, calls added up (calls at once count each)."""

    dollars: NonNegative | None = None
    """Cost of the calls whose price is known; None where none is."""

    @property
    def evaluated_tokens(self) -> int:
        """Prompt tokens that had to be processed."""
        return self.input_tokens - self.cached_tokens

    @classmethod
    def of_call(cls, message: BaseMessage, *, seconds: float, price: Price | None = None) -> "StageUsage":
        """Return the usage of one call from the message it returned (`usage_metadata`, where the model fills it)."""
        metadata = getattr(message, "usage_metadata", None)
        if is_cached(metadata):
            return cls(calls=1, cached_calls=1, seconds=seconds, dollars=None if price is None else 0.0)
        if metadata is None:
            return cls(calls=1, unmetered_calls=1, seconds=seconds)
        cached = (metadata.get("input_token_details") or {}).get("cache_read") or 0
        tokens = {
            "input_tokens": metadata["input_tokens"],
            # A provider that counts the cache beside the prompt would make the evaluated share negative.
            "cached_tokens": min(cached, metadata["input_tokens"]),
            "output_tokens": metadata["output_tokens"],
        }
        return cls(calls=1, seconds=seconds, dollars=None if price is None else price.cost(**tokens), **tokens)


class Usage(_Sum):
    """What a question, or a batch of them, used in each stage.

    Example:
        ```python
        total = sum((solution.usage for solution in solutions), Usage())
        print(total.solve.calls, total.total.dollars)
        ```
    """

    decompose: StageUsage = StageUsage()
    """The decomposer's share."""

    solve: StageUsage = StageUsage()
    """The solver's share."""

    @property
    def total(self) -> StageUsage:
        """Both stages together."""
        return self.decompose + self.solve


def sane(metadata: UsageMetadata | None) -> UsageMetadata | None:
    """Return token counts as counts, none missing; None where they are none, such as numbers below zero."""
    if metadata is None or any(_count(value) != value for value in map(metadata.get, _COUNTS) if value is not None):
        return None
    read, written = (_count(metadata.get(key)) for key in _COUNTS)
    details: dict[str, Any] = {
        name: {key: _count(value) for key, value in (metadata.get(name) or {}).items()}
        for name in ("input_token_details", "output_token_details")
        if name in metadata
    }
    total = max(_count(metadata.get("total_tokens")), read + written)
    return cast(
        "UsageMetadata",
        {**metadata, **details, "input_tokens": read, "output_tokens": written, "total_tokens": total},
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 < value < math.inf else 0


def is_cached(metadata: UsageMetadata | None) -> bool:
    """Return whether a message's token counts say that it came from LangChain's cache, which puts its cost at 0."""
    return metadata is not None and metadata.get("total_cost") == 0


def add_metadata(left: UsageMetadata | None, right: UsageMetadata | None) -> UsageMetadata | None:
    """Return the token counts of two replies together; what came from a cache adds nothing to what did not."""
    if left is None or right is None:
        return left if right is None else right
    if is_cached(left) != is_cached(right):
        return right if is_cached(left) else left
    return add_usage(left, right)
