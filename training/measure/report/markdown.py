"""Cells and tables in Markdown, and where a document of them is another than it should be."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from training.measure.intervals import Interval
from training.measure.records import Used
from training.measure.report.figures import Spending
from training.measure.report.read import Arm, R

NOTHING = "\u2013"
"""A dash, where there is no figure."""

_MOST_LINES = 12


def render_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; none where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *lines, ""] if lines else []


def percent(found: Interval | None, *, signed: bool = False) -> str:
    """Return an estimate with its interval, in percent."""
    if found is None:
        return NOTHING
    value, low, high = (fixed(100 * part, 1, signed=signed) for part in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def fixed(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Return a number with so many decimals; there is no minus zero."""
    if value is None:
        return NOTHING
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def counted(arm: Arm[R]) -> str:
    """Return how many questions an arm answered, and that it is unfinished where more were drawn."""
    done = len(arm.records)
    return f"{done}" if done >= arm.drawn else f"unfinished: {done} of {arm.drawn}"


def tokens(used: Sequence[Used]) -> str:
    """Return the tokens in and out for a question, on average; at least so many where calls reported none."""
    if not used:
        return NOTHING
    least = "≥ " if any(one.unmetered_calls for one in used) else ""
    return f"{least}{fmean(one.input_tokens for one in used):.0f} / {fmean(one.output_tokens for one in used):.0f}"


def counts(found: Mapping[str, int]) -> str:
    """Return how often each thing is there, by its name."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(found.items())) or NOTHING


def dollars(cost: Spending) -> list[str]:
    """Return the cells of a cost: decomposer, solver, both."""
    return [fixed(part, 3) for part in (cost.decomposer, cost.solver, cost.total)]


def text_differences(path: Path, text: str) -> list[str]:
    """Return in words where a committed file is not the text that the records give."""
    if not path.exists():
        return [f"There is no {path}."]
    committed = path.read_text(encoding="utf-8")
    if committed == text:
        return []
    lines = [*difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "records", lineterm="", n=0)]
    more = [f"… and {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else []
    return [f"{path} differs:", *lines[:_MOST_LINES], *more]
