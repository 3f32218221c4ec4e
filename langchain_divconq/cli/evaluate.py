"""`divconq evaluate`: measures searches whole, hop by hop and fused, on your own questions and passages."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from langchain_divconq.cli.batch import run_batch
from langchain_divconq.cli.commands import make_decomposer, make_model
from langchain_divconq.cli.console import note, show
from langchain_divconq.cli.corpus import read_corpus, read_questions
from langchain_divconq.cli.jsonl import RecordFile
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.retrieval.bm25 import BM25
from langchain_divconq.retrieval.evaluation import (
    WAYS,
    Asked,
    Interval,
    Outcome,
    Way,
    evaluator,
    interval,
    recommend,
)

_NAMES: dict[Way, str] = {"whole": "whole question", "turns": "hop by hop", "rrf": "hop by hop, rrf"}
_FEW = 30
"""With fewer questions hardly any difference can be told from chance."""


def evaluate(args: argparse.Namespace) -> int:
    """Search for each question in every way, keep a record of each, and show what was found; return the exit code."""
    documents = read_corpus(args.corpus)
    asked = read_questions(args.questions, documents)
    retriever = DecomposedRetriever(
        retriever=BM25(documents=documents, k=args.k),
        reader=None if args.reader is None else make_model("--reader", args.reader, args, args.max_tokens),
        decomposer=make_decomposer(args),
        k=args.k,
    )
    options = {name: getattr(args, name) for name in ("k", "reader", "decomposer", "max_subquestions", "num_beams")}
    settings = {"corpus": str(args.corpus), "documents": len(documents), **options}
    path = args.output or args.questions.with_suffix(".evaluated.jsonl")
    with RecordFile(path, "evaluation", settings) as file:
        left = [(item, passages) for item, passages in asked if not file.is_finished(item)]
        failed = run_batch(
            evaluator(retriever),
            [item for item, _ in left],
            file.add,
            args.concurrency,
            inputs=[Asked(item.question, passages) for item, passages in left],
            before=len(asked) - len(left),
            keeps_failures=False,
        )
        outcomes = [Outcome.model_validate(file.finished[item.key]) for item, _ in asked if item.key in file.finished]
    if outcomes:
        show(render_outcomes(outcomes, args.k, args.price))
        if args.plot is not None:
            plot_outcomes(outcomes, args.k, args.plot)
    note(f"The records are in {path}.")
    return 1 if failed else 0


def render_outcomes(outcomes: Sequence[Outcome], k: int, price: tuple[float, float] | None) -> str:
    """Return the shares found, their intervals and costs, and the gate they speak for, as text."""
    budgets = sorted({min(5, k), k})
    header = ["", *(f"all found, {budget}" for budget in budgets), *(f"recall at {budget}" for budget in budgets)]
    rows = [header]
    measures, blanks = (Outcome.is_complete, Outcome.recall), [""] * (len(budgets) - 1)
    for way in WAYS:
        shares = [interval([of(one, way, budget) for one in outcomes]) for of in measures for budget in budgets]
        rows.append([_NAMES[way], *map(_percent, shares)])
    for way in WAYS[1:]:
        # Gains are told for the largest budget alone.
        gains = [interval([of(one, way, k) - of(one, "whole", k) for one in outcomes]) for of in measures]
        rows.append([f"{_NAMES[way]}, gained", *(cell for gain in gains for cell in (*blanks, _percent(gain)))])
    divided = [one for one in outcomes if one.subquestions]
    lines = [*_table(rows), "", f"{len(outcomes)} questions, {len(divided)} with a plan. {_costs(outcomes, price)}"]
    if partial := sum(bool(one.partial) for one in outcomes):
        lines.append(f"{partial} of them are partial: a search or a reading failed. The records say which.")
    return "\n".join([*lines, *_advice(outcomes, k)]) + "\n"


def plot_outcomes(outcomes: Sequence[Outcome], k: int, path: Path) -> None:
    """Draw what each way finds, with intervals; without matplotlib, or a place to write, a ConfigurationError."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError(f"--plot {path} needs matplotlib. Install it: pip install matplotlib") from None
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    budgets = sorted({min(5, k), k})
    for at, budget in enumerate(budgets):
        shares = [interval([one.is_complete(way, budget) for one in outcomes]) for way in WAYS]
        places = [number + (at - (len(budgets) - 1) / 2) * 0.35 for number in range(len(WAYS))]
        bounds = [[100 * (one.value - one.low) for one in shares], [100 * (one.high - one.value) for one in shares]]
        values = [100 * one.value for one in shares]
        axes.bar(places, values, width=0.33, yerr=bounds, capsize=3, label=f"{budget} passages")
    axes.set_xticks(range(len(WAYS)), [_NAMES[way] for way in WAYS])
    axes.set_ylabel("questions with all passages found, %")
    axes.set_title(f"{len(outcomes)} questions, 95% intervals")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: an ending that is no picture's
        raise ConfigurationError(f"--plot {path} cannot be written: {error}") from error


def _advice(outcomes: Sequence[Outcome], k: int) -> list[str]:
    way = max(WAYS[1:], key=lambda one: (recommend(outcomes, one, k).complete, one == "turns"))
    best = recommend(outcomes, way, k)
    gain = interval([one.is_complete(way, k) - one.is_complete("whole", k) for one in outcomes])
    gate = f"{best.gate:.3f}" if isinstance(best.gate, float) else best.gate
    lines = [
        "",
        f'Recommended: gate={gate}, fuse="{way}": all passages found for {100 * best.complete:.1f}% of the questions, '
        f"{100 * best.divided:.0f}% of them divided; {100 * best.elsewhere:.1f}% where the gate was chosen by other "
        "questions.",
    ]
    if len(outcomes) < _FEW or gain.low <= 0 <= gain.high:
        lines.append(
            f"Take this with care: {len(outcomes)} questions do not tell hop by hop from the whole question "
            f"({_percent(gain)} points)."
        )
    return lines


def _costs(outcomes: Sequence[Outcome], price: tuple[float, float] | None) -> str:
    read, written = (fmean(getattr(one, name) for one in outcomes) for name in ("input_tokens", "output_tokens"))
    text = f"A question took {fmean(one.seconds for one in outcomes):.2f} s, {read:.0f} tokens in and {written:.0f} out"
    if price is None:
        return f"{text}."
    return f"{text}: ${(read * price[0] + written * price[1]) / 1e6:.6f}, were all of them the reader's."


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"
