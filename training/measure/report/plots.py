"""Plots, and the figures they show: a PNG holds these as text, so that it can be told what it was drawn from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from training.measure.intervals import Interval, share
from training.measure.report.figures import (
    PER,
    by_subquestions,
    cost,
    gate,
    gate_arms,
    gate_thresholds,
    mean_score,
    pareto,
    strict,
)
from training.measure.report.read import AnswerArm, Folder
from training.measure.report.tables import by_source
from training.store import whole

_KEY = "Figures"
BINS = 5
"""Confidences are told apart in so many equal steps."""

_FEWEST = 5
"""A point stands for at least so many questions."""


@dataclass(frozen=True)
class Plot:
    """A plot, before it is drawn."""

    name: str
    """The file's, without its ending."""
    title: str
    figures: dict[str, Any]
    """What is drawn, in JSON's types."""


def plots(folder: Folder) -> Iterator[Plot]:
    """Yield the plots for which a folder has the data: three for each source at most."""
    sources = by_source(folder.answers)
    for source, arms in sources:
        place = folder.name if len(sources) == 1 else f"{folder.name}, {source}"
        known = {
            "cost": ("accuracy against total cost", _costs(arms)),
            "subquestions": ("accuracy by number of subquestions", _subquestions(arms)),
            "gate": ("risk against coverage", _gates(arms)),
        }
        for kind, (title, figures) in known.items():
            if figures:
                yield Plot(f"{place.replace(', ', '-')}-{kind}", f"{place}: {title}", {"kind": kind, **figures})


def _costs(arms: Sequence[AnswerArm]) -> dict[str, Any]:
    points = []
    for arm in arms:
        score, total = mean_score(arm.records, strict), cost(arm).total
        if score is not None and total is not None:
            label = arm.name if len(arm.records) >= arm.drawn else f"{arm.name} ({score.n} of {arm.drawn})"
            points.append({"arm": label, "dollars": round(total, 4), **_rounded(score)})
    # Where no model has a price there is nothing to compare.
    if len(points) < 2 or not any(point["dollars"] for point in points):
        return {}
    return {"points": points, "front": pareto((one["arm"], one["dollars"], one["value"]) for one in points)}


def _subquestions(arms: Sequence[AnswerArm]) -> dict[str, Any]:
    divided = [arm for arm in arms if any(one.subquestions for one in arm.records) and arm.mode != "self_ask"]
    most = max((len(arm.records) for arm in divided), default=0)
    lines = []
    for arm in (arm for arm in divided if len(arm.records) == most):
        scores = by_subquestions(arm.records).items()
        points = [{"subquestions": n, **_rounded(found)} for n, found in scores if found and found.n >= _FEWEST]
        if points:
            lines.append({"arm": arm.name, "points": points})
    return {"lines": lines} if lines else {}


def _gates(arms: Sequence[AnswerArm]) -> dict[str, Any]:
    lines = []
    for dividing, single in gate_arms(arms):
        probabilities = {one.no_decomposition_probability for one in dividing.records}
        thresholds = gate_thresholds(dividing, sorted(one for one in probabilities if one is not None))
        found = gate(dividing, single, thresholds)
        points = [[round(one.coverage, 4), round(one.risk, 4)] for one in found]
        own = [
            [round(one.coverage, 4), round(one.risk_of_divided, 4)] for one in found if one.risk_of_divided is not None
        ]
        if len({coverage for coverage, _ in points}) > 1:
            lines.append({"arm": dividing.name, "to": single.name, "all": points, "divided": own})
    return {"lines": lines} if lines else {}


def reliability(sure: Mapping[str, Sequence[tuple[float, bool]]]) -> Iterator[Plot]:
    """Yield the plot of good plans by confidence, where there are plans enough for a point.

    Args:
        sure: Of each arm the confidence of each plan, and whether it is good.
    """
    lines = []
    for arm, plans in sure.items():
        groups: dict[int, list[tuple[float, bool]]] = {}
        for confidence, good in plans:
            groups.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, good))
        points = [
            {
                "confidence": round(fmean(confidence for confidence, _ in group), 4),
                **_rounded(share(sum(good for _, good in group), len(group))),
            }
            for _, group in sorted(groups.items())
            if len(group) >= _FEWEST
        ]
        if points:
            lines.append({"arm": arm, "points": points})
    if lines:
        yield Plot(
            "reliability", "everyday questions: good plans by confidence", {"kind": "reliability", "lines": lines}
        )


def _rounded(found: Interval) -> dict[str, Any]:
    return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4), "n": found.n}


def draw(plot: Plot, path: Path) -> None:
    """Write a plot as PNG, at one stroke."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(plot.title)
    _DRAWN[plot.figures["kind"]](axes, plot.figures)
    if plot.figures["kind"] != "cost":
        axes.legend(fontsize="small")
    metadata = {_KEY: render_figures(plot), "Software": None}
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata=metadata)


def save_plots(folder: Path, drawn: Sequence[Plot]) -> None:
    """Draw plots into a folder, and remove every other PNG from it."""
    for plot in drawn:
        draw(plot, folder / f"{plot.name}.png")
    for path in _stale(folder, drawn):
        path.unlink()


def plot_differences(folder: Path, drawn: Sequence[Plot]) -> list[str]:
    """Return in words where the PNGs of a folder are not those that `save_plots` would leave."""
    differences = []
    for plot in drawn:
        path = folder / f"{plot.name}.png"
        if not path.exists():
            differences.append(f"There is no {path}.")
        elif read_figures(path) != render_figures(plot):
            differences.append(f"{path} was drawn from other figures.")
    return differences + [f"{path} is no plot of this report." for path in _stale(folder, drawn)]


def _stale(folder: Path, drawn: Sequence[Plot]) -> list[Path]:
    names = {f"{plot.name}.png" for plot in drawn}
    return sorted(path for path in folder.glob("*.png") if path.name not in names)


def render_figures(plot: Plot) -> str:
    """Return what a plot is drawn from, as text of ASCII."""
    return json.dumps({"title": plot.title, **plot.figures}, sort_keys=True)


def read_figures(path: Path) -> str | None:
    """Return what a PNG of ours was drawn from; None where there is no such file, or it says nothing of that."""
    from PIL import Image

    with suppress(OSError), Image.open(path) as image:
        found: str | None = image.info.get(_KEY)
        return found
    return None


def _draw_costs(axes: Any, figures: dict[str, Any]) -> None:
    for point in figures["points"]:
        _draw_points(axes, [point["dollars"]], [point], "C0" if point["arm"] in figures["front"] else "C7")
        _name(axes, point["arm"], (point["dollars"], 100 * point["value"]), (5, 4))
    known = {point["arm"]: (point["dollars"], 100 * point["value"]) for point in figures["points"]}
    axes.plot(*zip(*(known[name] for name in figures["front"]), strict=True), "--", color="C0", linewidth=1)
    axes.margins(x=0.15)  # room for the names
    axes.set(xlabel=f"dollars for {PER:,} questions, both stages", ylabel="strict accuracy (%)")


def _draw_subquestions(axes: Any, figures: dict[str, Any]) -> None:
    for number, line in enumerate(figures["lines"]):
        # Side by side, so that intervals do not hide each other.
        shift = 0.06 * (number - (len(figures["lines"]) - 1) / 2)
        _draw_line(axes, line, [point["subquestions"] + shift for point in line["points"]], f"C{number}")
    axes.set_xticks(sorted({point["subquestions"] for line in figures["lines"] for point in line["points"]}))
    axes.set(xlabel="subquestions in the plan (0: answered in a single stage)", ylabel="strict accuracy (%)")


def _draw_gates(axes: Any, figures: dict[str, Any]) -> None:
    for number, line in enumerate(figures["lines"]):
        name = f"{line['arm']} or {line['to']}"
        for key, style, words in (("all", "-", "all questions"), ("divided", ":", "the divided alone")):
            xs, ys = zip(*line[key], strict=True)
            axes.plot([100 * x for x in xs], [100 * y for y in ys], style, color=f"C{number}", label=f"{name}, {words}")
    axes.set(xlabel="coverage: questions that are divided (%)", ylabel="risk: answered wrong (%)")


def _draw_reliability(axes: Any, figures: dict[str, Any]) -> None:
    axes.plot([0, 100], [0, 100], "--", color="C7", linewidth=1, label="as sure as right")
    for number, line in enumerate(figures["lines"]):
        xs = [100 * point["confidence"] for point in line["points"]]
        _draw_line(axes, line, xs, f"C{number}")
        for x, point in zip(xs, line["points"], strict=True):
            _name(axes, str(point["n"]), (x, 100 * point["value"]), (4, -10))
    axes.set_xlabel(f"confidence (%), the mean of each of {BINS} bins; plans in it beside the point")
    axes.set_ylabel("good plans (%)")


def _draw_line(axes: Any, line: dict[str, Any], xs: Sequence[float], color: str) -> None:
    axes.plot(xs, [100 * point["value"] for point in line["points"]], color=color, label=line["arm"])
    _draw_points(axes, xs, line["points"], color)


def _name(axes: Any, text: str, at: tuple[float, float], offset: tuple[int, int]) -> None:
    axes.annotate(text, at, xytext=offset, textcoords="offset points", fontsize="x-small")


def _draw_points(axes: Any, xs: Sequence[float], points: Sequence[dict[str, Any]], color: str) -> None:
    ys = [100 * point["value"] for point in points]
    reach = [[100 * abs(point["value"] - point[bound]) for point in points] for bound in ("low", "high")]
    axes.errorbar(xs, ys, yerr=reach, fmt="o", color=color, capsize=2, elinewidth=0.7, markersize=5)


_DRAWN = {
    "cost": _draw_costs,
    "subquestions": _draw_subquestions,
    "gate": _draw_gates,
    "reliability": _draw_reliability,
}
