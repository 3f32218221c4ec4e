"""Generated pieces of documents: what stands between `<!-- NAME -->` and `<!-- /NAME -->`."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tests.benchmarks.table import render as render_measured
from tests.benchmarks.table import render_budgets
from tests.outputs.results import render_differences, render_helps, render_modes, render_plans, render_students
from tests.outputs.rivals import render_rivals
from tests.outputs.shown import render_diagram, render_failure, render_library

Piece: TypeAlias = Callable[[], str]

TABLES: Mapping[str, Piece] = {
    "helps": render_helps,
    "differences": render_differences,
    "rivals": render_rivals,
    "students": render_students,
    "modes": render_modes,
    "plans": render_plans,
    "measured": render_measured,
    "budgets": render_budgets,
}
"""Made of committed results, at once."""

SHOWN: Mapping[str, Piece] = {"diagram": render_diagram, "library": render_library, "failure": render_failure}
"""Made by the shipped model."""


def names(text: str) -> list[str]:
    """Return the names of the pieces that a document has."""
    return [name for name in (*TABLES, *SHOWN) if _marks(name)[0] in text]


def piece(text: str, name: str) -> str:
    """Return what a document shows as a piece."""
    begin, end = _marks(name)
    return text.partition(begin)[2].partition(end)[0]


def with_pieces(text: str, pieces: Mapping[str, Piece]) -> str:
    """Return a document with those of its pieces made anew that are given."""
    for name in names(text):
        if name in pieces:
            begin, end = _marks(name)
            before, _, rest = text.partition(begin)
            text = before + begin + pieces[name]() + end + rest.partition(end)[2]
    return text


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- /{name} -->"
