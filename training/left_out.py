"""What a stage makes of an example: the example with one more field, or a reason why it goes no further."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from training.example import Example


@dataclass(frozen=True)
class LeftOut:
    """An example that a stage can make nothing of.

    Attributes:
        id: The example's.
        reason: Why, in a few words that are the same for all examples it holds for, so that they can be counted.
    """

    id: str
    reason: str


Outcome: TypeAlias = Example | LeftOut


def kept(outcomes: Iterable[Outcome]) -> list[Example]:
    """Return the examples among the outcomes, in order."""
    return [outcome for outcome in outcomes if isinstance(outcome, Example)]


def save_left_out(outcomes: Iterable[Outcome], path: Path, **more: Any) -> None:
    """Write what was left out and why as JSON, to a temporary name that is then changed: ids alone, no text.

    Args:
        outcomes: All of a stage's.
        path: The file.
        more: What else the stage counted.
    """
    left_out = {outcome.id: outcome.reason for outcome in outcomes if isinstance(outcome, LeftOut)}
    value = {**more, "counts": dict(Counter(left_out.values()).most_common()), "examples": left_out}
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def render_counts(outcomes: Iterable[Outcome]) -> str:
    """Return a table of how many were kept and how many left out for which reason."""
    reasons = Counter(outcome.reason if isinstance(outcome, LeftOut) else None for outcome in outcomes)
    rows = [(reasons.pop(None, 0), "kept")]
    rows += [(count, f"left out: {reason}") for reason, count in reasons.most_common()]
    return "\n".join(f"{count:>8,}  {what}" for count, what in rows)
