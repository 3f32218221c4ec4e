"""report.md and its plots, made from the committed records alone, and the check that they are those."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_divconq.usage import Price
from training.measure.config import NONE
from training.measure.intervals import RESAMPLES
from training.measure.publish import RESULTS
from training.measure.report.definitions import DEFINITIONS
from training.measure.report.everyday import README, made_of, save_everyday
from training.measure.report.markdown import text_differences
from training.measure.report.plots import Plot, plot_differences, plots, save_plots
from training.measure.report.read import EVERYDAY, AnswerArm, Folder, RetrievalArm, load_folders
from training.measure.report.tables import render_answers, render_retrieval
from training.store import save_text

NAME = "report.md"
PLOTS = "report"
"""The folder of plots beside it; whatever PNG lies there is the report's."""


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
    everyday = results / EVERYDAY
    graded = made_of(everyday) if any(everyday.glob("*.jsonl")) else None
    text = render(folders, shown, graded and graded[1])
    if check:
        found = [*text_differences(results / NAME, text), *plot_differences(results / PLOTS, drawn)]
        if graded:
            found += [*text_differences(everyday / README, graded[0]), *plot_differences(everyday, graded[1])]
        for difference in found:
            print(difference, file=sys.stderr)
        if found:
            print("The report is not what the records give. Make it anew: python -m training report", file=sys.stderr)
        return not found
    results.mkdir(parents=True, exist_ok=True)
    save_plots(results / PLOTS, drawn)
    if graded:
        save_everyday(everyday)
    save_text(results / NAME, text)
    print(f"Written: {results / NAME} and {len(drawn)} plots", flush=True)
    return True


def render(
    folders: Sequence[Folder], shown: Mapping[str, Sequence[Plot]], everyday: Sequence[Plot] | None = None
) -> str:
    """Return the report as Markdown.

    Args:
        folders: In order.
        shown: The plots of each, by its name.
        everyday: Those of the everyday questions; None: nothing has been graded.
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
    if not folders and everyday is None:
        lines += ["Nothing has been measured yet.", ""]
    for folder in folders:
        is_search = folder.kind == "retrieval"
        lines += [f"## {folder.name}", "", *_settings(folder)]
        lines += render_retrieval(folder) if is_search else render_answers(folder.answers)
        for plot in shown[folder.name]:
            lines += [f"![{plot.title}]({PLOTS}/{plot.name}.png)", ""]
    if everyday is not None:
        words = f"Decomposers graded on questions that people ask, beside their cost: [tables]({EVERYDAY}/README.md)."
        lines += [f"## {EVERYDAY}", "", words, ""]
        lines += [line for plot in everyday for line in (f"![{plot.title}]({EVERYDAY}/{plot.name}.png)", "")]
    lines += ["## What is measured", ""]
    lines += [f"- **{column}**: {words}" for column, words in DEFINITIONS.items()]
    made_by = [f"$ python -m training measure training/configs/measure/{one.name}.toml" for one in folders]
    lines += ["", "Made by:", "", "```console", *made_by, "$ python -m training report", "```", ""]
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
