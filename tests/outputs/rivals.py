"""The table of what people do in place of dividing: how much each finds, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import fmean

from tests.outputs.results import PASSAGES, Record, has_all, records_of
from training.measure.intervals import difference
from training.measure.report.markdown import NOTHING

FEWEST = 20
"""A table of fewer questions tells nothing."""

SETS = {"multihop-musique": "MuSiQue", "multihop-wiki2": "2Wiki"}
OURS = "small-sequential"
DIVIDED_BY_SOLVER = "solver-sequential"
WAYS = {
    "whole": "the question alone",
    "rewrite": "the solver rewrites it",
    "multiquery": "three versions by the solver, fused (multi-query)",
    "ircot": "the solver reasons between searches (as IRCoT)",
    "agent": "an agent with a search tool",
    DIVIDED_BY_SOLVER: "the solver divides it, shown one example",
    OURS: "**divided by small, hop by hop**",
    "medium-sequential": "**divided by medium, hop by hop**",
}


def render_rivals() -> str:
    """Return the table for each set, over the questions that all its ways were asked."""
    lines = [
        f"| | | all found of {PASSAGES}, % | hop by hop with small finds … points more | recall at 5, % "
        "| solver's tokens, in and out | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for folder, title in SETS.items():
        found = {way: records for way in WAYS if len(records := records_of(folder, way)) >= FEWEST}
        if OURS in found:
            lines += _rows(title, found)
    return "\n".join(lines) + "\n"


def _rows(title: str, found: Mapping[str, Sequence[Record]]) -> list[str]:
    common = set.intersection(*({record["id"] for record in records} for records in found.values()))
    alike = {
        way: sorted((record for record in records if record["id"] in common), key=itemgetter("id"))
        for way, records in found.items()
    }
    rows = []
    for way, records in alike.items():
        cells = [
            f"{title}, n = {len(common)}",
            WAYS[way],
            f"{100 * fmean(map(has_all, records)):.0f}",
            NOTHING if way == OURS else _more(alike[OURS], records),
            f"{100 * fmean(map(_recall, records)):.0f}",
            _tokens(records, ("decompose", "solve") if way == DIVIDED_BY_SOLVER else ("solve",)),
            f"{fmean(_used(record, ('decompose', 'solve'), 'seconds') for record in records):.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _more(ours: Sequence[Record], others: Sequence[Record]) -> str:
    found = difference(*([(has_all(record), 1.0) for record in records] for records in (ours, others)))
    assert found is not None
    return f"{100 * found.value:+.0f} [{100 * found.low:+.0f}, {100 * found.high:+.0f}]"


def _recall(record: Record) -> float:
    return fmean(float(rank is not None and rank <= 5) for rank in record["found"])


def _tokens(records: Sequence[Record], stages: Sequence[str]) -> str:
    """Return the mean tokens in and out of what the solver did: rewrite, divide or read."""
    means = [fmean(_used(record, stages, f"{way}_tokens") for record in records) for way in ("input", "output")]
    return f"{means[0]:,.0f} / {means[1]:,.0f}"


def _used(record: Record, stages: Sequence[str], of: str) -> float:
    return float(sum((record.get(stage) or {}).get(of, 0) for stage in stages))
