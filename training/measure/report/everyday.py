"""The graded everyday questions as tables, and how far confidences can be trusted, from the committed records alone."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

from training.measure.grade import Grade
from training.measure.intervals import Share, only_if, ratio
from training.measure.publish import RESULTS
from training.measure.records import Used
from training.measure.report.markdown import NOTHING, fixed, render_table, tokens
from training.measure.report.plots import BINS, Plot, reliability, save_plots
from training.measure.report.read import EVERYDAY
from training.store import Records, save_text

FOLDER = RESULTS / EVERYDAY

README = "README.md"
_FIRST = ("small", "medium", "small-then-medium")
_SURE = 0.8
_HARM = "harm: a plan where none belongs, or with invented words"


def _good(grade: Grade) -> Share:
    return float(grade.good), 1.0


_MEASURES: dict[str, Callable[[Grade], Share]] = {
    "good plans, or rightly none": _good,
    "left whole, of those that should be": lambda one: only_if(one.gold == 0, one.written == 0),
    "divided, of those that should be": lambda one: only_if(one.gold > 0, one.written > 0),
    "plans with invented words": lambda one: only_if(one.written > 0, one.invented),
    _HARM: lambda one: (float(one.harmful), 1.0),
    f"good, of those with a confidence of at least {_SURE:g}": lambda one: only_if(
        one.written > 0 and (one.confidence or 0) >= _SURE, one.good
    ),
}


def load_grades(folder: Path = FOLDER) -> dict[str, list[Grade]]:
    """Return the grades of each decomposer whose records lie in a folder: the library's own first, others by name.

    Raises:
        ValueError: A line is no grade; names the file, and the line.
    """
    found = {path.stem: [*Records(path, Grade).records.values()] for path in folder.glob("*.jsonl")}
    return {name: found[name] for name in [*(one for one in _FIRST if one in found), *sorted({*found} - {*_FIRST})]}


def save_everyday(folder: Path = FOLDER) -> None:
    """Write the tables and the plot of what was graded beside the records."""
    text, drawn = made_of(folder)
    save_plots(folder, drawn)
    save_text(folder / README, text)


def render(graded: Mapping[str, Sequence[Grade]], drawn: Sequence[Plot] = (), machine: str = "") -> str:
    """Return as Markdown what decomposers were worth, what they cost, and the good plans by kinds of questions.

    Args:
        graded: The grades of each decomposer, by its name.
        drawn: The plots beside them.
        machine: What the last of them was asked on; "": unknown.
    """
    rows = {"questions": [str(len(grades)) for grades in graded.values()]}
    rows |= {title: [_cell(map(share, one)) for one in graded.values()] for title, share in _MEASURES.items()}
    kinds = {}
    for kind in dict.fromkeys(one.kind for grades in graded.values() for one in grades):
        shares = [[_good(one) for one in grades if one.kind == kind] for grades in graded.values()]
        kinds[kind] = [*map(_cell, shares)]
    lines = [
        "# Everyday questions",
        "",
        "Made by `python -m training grade`, from the records beside this file. Shares in percent with 95% intervals "
        "by bootstrap over questions, n in brackets where it is not all. What is good stands in "
        "`training/measure/grade.py`. These questions chose the training mixture and the settings, so the figures lean "
        "to the bright side.",
        "",
        *_table(rows, graded),
        *_costs(graded, machine),
        *_reliability(drawn),
        "Good, by kind:",
        "",
        *_table(kinds, graded),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Mapping[str, Sequence[str]], graded: Mapping[str, Sequence[Grade]]) -> list[str]:
    return render_table(["", *graded], [[title, *cells] for title, cells in rows.items()])


def _costs(graded: Mapping[str, Sequence[Grade]], machine: str) -> list[str]:
    header = ["", "good", "harm", "seconds, median", "seconds, mean", "tokens in / out"]
    rows = [[name, *_cost(grades)] for name, grades in graded.items() if grades]
    where = f", the last arm on {machine}" if machine else ""
    return [
        "Quality against cost, for a question. Seconds are those spent waiting for models, in one run of each arm"
        f"{where}: they tell arms apart, and are no benchmark. Tokens are means over all questions, prompts that a "
        "model had cached included; of an arm of two stages, each one's, and how many questions reached it. "
        f"{NOTHING}: nobody counted.",
        "",
        *render_table([*header, "questions that reached a model"], rows),
    ]


def _cost(grades: Sequence[Grade]) -> list[str]:
    quality = [_cell(map(_good, grades)), _cell(map(_MEASURES[_HARM], grades))]
    stages = dict.fromkeys(stage for one in grades for stage in one.used)
    if not stages:
        return [*quality, *[NOTHING] * 4]
    seconds = [one.seconds for one in grades]
    spent = [tokens([one.used.get(stage, Used()) for one in grades]) for stage in stages]
    asked = [f"{stage} {sum(stage in one.used for one in grades)}" for stage in stages]
    return [*quality, fixed(median(seconds), 2), fixed(fmean(seconds), 2), " + ".join(spent), " + ".join(asked)]


def _reliability(drawn: Sequence[Plot]) -> list[str]:
    if not drawn:
        return []
    return [
        f"How far a confidence can be trusted: plans in {BINS} equal steps of confidence, steps of few plans left out, "
        "and the share of good ones with 95% intervals by Wilson. On the dashed line a confidence is the share it "
        "promises.",
        "",
        *(line for plot in drawn for line in (f"![{plot.title}]({plot.name}.png)", "")),
    ]


def made_of(folder: Path) -> tuple[str, list[Plot]]:
    """Return the tables and the plot, not yet drawn, that a folder's records give."""
    graded = load_grades(folder)
    sure = {
        name: [(one.confidence, one.good) for one in grades if one.written and one.confidence is not None]
        for name, grades in graded.items()
    }
    drawn, path = [*reliability(sure)], folder / "settings.json"
    machine = str(json.loads(path.read_bytes()).get("machine", "")) if path.exists() else ""
    return render(graded, drawn, machine), drawn


def _cell(shares: Iterable[Share]) -> str:
    listed = list(shares)
    found = ratio(listed) if listed else None
    if found is None:
        return ""
    size = "" if found.n == len(listed) else f" ({found.n})"
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]{size}"
