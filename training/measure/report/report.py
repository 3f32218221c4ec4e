"""report.md and its plots, made from the committed records alone, and the check that they are those."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from langchain_divconq.usage import Price
from training.measure.config import NONE
from training.measure.intervals import RESAMPLES
from training.measure.publish import RESULTS
from training.measure.report.answers import render_answers
from training.measure.report.definitions import DEFINITIONS
from training.measure.report.plots import Plot, draw, plots, read_figures, render_figures
from training.measure.report.read import AnswerArm, Folder, RetrievalArm, load_folders
from training.measure.report.retrieval import render_retrieval
from training.store import save_text

NAME = "report.md"
PLOTS = "report"
"""The folder of plots beside it; whatever PNG lies there is the report's."""

_MOST_LINES = 12


def report(results: Path = RESULTS, *, check: bool = False) -> bool:
    """Write report.md and its plots into a folder of results, or compare what is there with what would be written.

    Args:
        results: The folder that holds folders of results.
        check: Write nothing; print what differs.

    Returns:
        Whether report and plots are what the records give; always so once they are written.

    Raises:
        ValueError: There are settings or records that cannot be read.
    """
    folders = sorted(load_folders(results), key=lambda folder: (folder.kind != "retrieval", folder.name))
    shown = {folder.name: [*plots(folder)] for folder in folders}
    drawn = [plot for found in shown.values() for plot in found]
    text = render(folders, shown)
    if check:
        found = [*_text_differences(results / NAME, text), *_plot_differences(results / PLOTS, drawn)]
        for difference in found:
            print(difference, file=sys.stderr)
        if found:
            print("The report is not what the records give. Make it anew: python -m training report", file=sys.stderr)
        return not found
    results.mkdir(parents=True, exist_ok=True)
    if drawn:
        (results / PLOTS).mkdir(exist_ok=True)
    for plot in drawn:
        draw(plot, results / PLOTS / f"{plot.name}.png")
    for stale in _stale(results / PLOTS, drawn):
        stale.unlink()
    save_text(results / NAME, text)
    print(f"Written: {results / NAME} and {len(drawn)} plots", flush=True)
    return True


def render(folders: Sequence[Folder], shown: Mapping[str, Sequence[Plot]]) -> str:
    """Return the report as Markdown.

    Args:
        folders: In order.
        shown: The plots of each, by its name.
    """
    lines = [
        "# What was measured",
        "",
        "Made from the records in the folders beside this file, and nothing else: `python -m training report` writes "
        "it, `python -m training report --check` compares. Brackets hold 95% intervals by bootstrap over questions "
        f"({RESAMPLES:,} resamples); a difference or a share is of the same questions in both arms. What each column "
        "means stands [at the end](#what-is-measured).",
        "",
    ]
    if not folders:
        lines += ["Nothing has been measured yet.", ""]
    for folder in folders:
        is_search = folder.kind == "retrieval"
        lines += [f"## {folder.name}", "", *_settings(folder)]
        lines += render_retrieval(folder) if is_search else render_answers(folder.answers)
        for plot in shown[folder.name]:
            lines += [f"![{plot.title}]({PLOTS}/{plot.name}.png)", ""]
    lines += ["## What is measured", ""]
    lines += [f"- **{column}**: {words}" for column, words in DEFINITIONS.items()]
    lines += ["", "Made by:", "", "```console", *_commands(folders), "$ python -m training report", "```", ""]
    return "\n".join(lines)


def _settings(folder: Folder) -> list[str]:
    settings = folder.settings
    parts = [f"Seed {settings.get('seed')}, prompts of version {settings.get('prompt_version')}"]
    if corpus := settings.get("corpus"):
        parts.append(f"{corpus['documents']:,} passages, searched by {settings.get('retriever')}")
    if machine := settings.get("machine"):
        parts.append(f"last measured on {machine}")
    arms: list[AnswerArm | RetrievalArm] = [*folder.answers, *folder.retrievals]
    solvers = {arm.solver: f"`{arm.model}`{_price(arm.solver_price)}" for arm in arms if arm.solver}
    decomposers = {
        arm.decomposer: _price(arm.decomposer_price) for arm in arms if arm.decomposer_price and arm.kind != NONE
    }
    lines = ["; ".join(parts) + "."]
    if solvers:
        lines.append("Solvers: " + "; ".join(f"{name} is {words}" for name, words in sorted(solvers.items())) + ".")
    if decomposers:
        lines.append("Decomposers: " + "; ".join(f"{name}{words}" for name, words in sorted(decomposers.items())) + ".")
    return [" ".join(lines), ""]


def _price(price: Price | None) -> str:
    return "" if price is None else f" at {price.input:g} / {price.output:g} dollars for a million tokens in / out"


def _commands(folders: Iterable[Folder]) -> list[str]:
    return [f"$ python -m training measure training/configs/measure/{one.name}.toml" for one in folders]


def _text_differences(path: Path, text: str) -> list[str]:
    if not path.exists():
        return [f"There is no {path}."]
    committed = path.read_text(encoding="utf-8")
    if committed == text:
        return []
    lines = [*difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "records", lineterm="", n=0)]
    more = [f"… and {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else []
    return [f"{path} differs:", *lines[:_MOST_LINES], *more]


def _plot_differences(folder: Path, drawn: Sequence[Plot]) -> list[str]:
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
