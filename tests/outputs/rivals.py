"""The table of what people do in place of dividing: how much each finds, and what the solver is asked for it."""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

from tests.outputs.results import COLUMNS, EARLIER, PASSAGES, Record, has_all, is_current, records_of, settings_of
from training.measure.intervals import difference
from training.measure.report.markdown import NOTHING

FEWEST = 20
"""A table of fewer questions tells nothing."""

SETS = {"multihop-musique": "MuSiQue", "multihop-wiki2": "2Wiki"}
OURS = "small_greedy-sequential"
DIVIDED_BY_SOLVER = "solver-sequential"
WAYS = {
    "whole": "the question alone",
    "rewrite": "the solver rewrites it",
    "multiquery": "three versions by the solver, fused (multi-query)",
    "ircot": "the solver reasons between searches (as IRCoT)",
    "agent": "an agent with a search tool",
    DIVIDED_BY_SOLVER: "the solver divides it, shown one example",
    OURS: "**divided by small, greedy, hop by hop**",
    "small-sequential": "**divided by small, hop by hop**",
    "medium_greedy-sequential": "**divided by medium, greedy, hop by hop**",
    "medium-sequential": "**divided by medium, hop by hop**",
}
ADAPTERS = {f"{arm}-sequential": column.adapter for column in COLUMNS if column.adapter for arm in column.arms}


def render_rivals() -> str:
    """Return the table for each set: each way over the questions that it and hop by hop, small, greedy, were asked."""
    lines = [
        f"| | | all found of {PASSAGES}, % | hop by hop with small, greedy, finds … points more | recall at 5, % "
        "| solver's tokens, in and out |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for folder, title in SETS.items():
        read = {way: {str(one["id"]): one for one in records_of(folder, way)} for way in WAYS}
        found = {way: records for way, records in read.items() if len(records) >= FEWEST}
        if OURS in found:
            lines += _rows(title, found, {way for way in found if not _is_current(folder, way)})
    if any("\\*" in line for line in lines):
        lines += EARLIER
    return "\n".join(lines) + "\n"


def _is_current(folder: str, way: str) -> bool:
    adapter = ADAPTERS.get(way)
    return adapter is None or is_current(settings_of(folder).get(way), adapter)


def _rows(title: str, found: Mapping[str, Mapping[str, Record]], earlier: Collection[str]) -> list[str]:
    rows = []
    for way, records in found.items():
        common = sorted(records.keys() & found[OURS].keys())
        alike, ours = ([of[name] for name in common] for of in (records, found[OURS]))
        cells = [
            f"{title}, n = {len(common)}",
            WAYS[way] + "\\*" * (way in earlier),
            f"{100 * fmean(map(has_all, alike)):.0f}",
            NOTHING if way == OURS else _more(ours, alike),
            f"{100 * fmean(map(_recall, alike)):.0f}",
            _tokens(alike, ("decompose", "solve") if way == DIVIDED_BY_SOLVER else ("solve",)),
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
