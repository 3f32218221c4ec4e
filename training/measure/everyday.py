"""The everyday questions as a measurement: each decomposer's plans graded, records without text, a table by kinds.

    python -m training grade --arm small --arm medium --arm qwen-1.5b=PATH.gguf

A decomposer is "small" or "medium" as the library has them, or NAME=PATH of a GGUF, asked with one demonstration.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.llamacpp.weights import default_weights
from training.config import ROOT, Source
from training.data.sources import read_source
from training.data.sources.everyday import FILES
from training.data.sources.rows import find_files, read_file
from training.example import Example
from training.measure.grade import Grade, asking_words, grade
from training.measure.intervals import Share, ratio
from training.store import save_json

FOLDER = ROOT / "training" / "results" / "everyday"
DEV = Source(name="everyday", split="dev")

_SURE = 0.8
_MADE_WITH = "weights.json"
_MEASURES: dict[str, tuple[str, Callable[[Grade], Share]]] = {
    "good": ("good plans, or rightly none", lambda g: (float(g.good), 1.0)),
    "whole": (
        "left whole, of those that should be",
        lambda g: (float(g.written == 0), 1.0) if g.gold == 0 else (0.0, 0.0),
    ),
    "divided": (
        "divided, of those that should be",
        lambda g: (float(g.written > 0), 1.0) if g.gold else (0.0, 0.0),
    ),
    "invented": (
        "plans with invented words",
        lambda g: (float(g.invented), 1.0) if g.written else (0.0, 0.0),
    ),
    "harmful": ("harm: a plan where none belongs, or with invented words", lambda g: (float(g.harmful), 1.0)),
    "sure": (
        f"good, of those with a confidence of at least {_SURE:g}",
        lambda g: (float(g.good), 1.0) if g.written and (g.confidence or 0) >= _SURE else (0.0, 0.0),
    ),
}


def grade_decomposers(arms: Sequence[str], folder: Path = FOLDER) -> None:
    """Have each decomposer divide the everyday questions, and write its grades and the table of all.

    Args:
        arms: Names, as this module's docstring has them; none: only the table is written.
        folder: Where the records lie.

    Raises:
        ValueError: A name is neither.
    """
    asking = asking_words(read_source(Source(name="everyday")))
    examples = list(read_source(DEV))
    about = {row["id"]: row for path in find_files(DEV, FILES) for row in read_file(path)}
    folder.mkdir(parents=True, exist_ok=True)
    for arm in arms:
        name, decomposer = load_decomposer(arm)
        started = time.perf_counter()
        grades = [_graded(example, decomposer, about, asking) for example in examples]
        spent = (time.perf_counter() - started) / len(examples)
        save_grades(grades, folder / f"{name}.jsonl")
        made_with = load_made_with(folder)
        save_json(folder / _MADE_WITH, {**made_with, name: checksums(decomposer)})
        good = ratio([_MEASURES["good"][1](one) for one in grades])
        print(f"{name}: {good.value if good else 0:.1%} of {len(grades)} good, {spent:.2f} s a question", flush=True)
    (folder / "README.md").write_text(render(load_grades(folder)), encoding="utf-8")


def load_decomposer(arm: str) -> tuple[str, Decomposer]:
    """Return an arm's name and its decomposer.

    Raises:
        ValueError: It is neither "small" nor "medium" nor NAME=PATH.
    """
    name, given, path = arm.partition("=")
    if given:
        return name, Decomposer(model=ChatGGUF(model_path=Path(path)), max_subquestions=4)
    if name in ("small", "medium"):
        return name, Decomposer(name)
    if name == "small-then-medium":
        return name, Decomposer("small", fallback=Decomposer("medium"))
    raise ValueError(f"{arm!r} is no decomposer. Name small, medium, small-then-medium, or NAME=PATH of a GGUF.")


def checksums(decomposer: Decomposer) -> list[str]:
    """Return the SHA-256 of each file of weights that a decomposer's plans hang on, adapters and fallback included."""
    model = decomposer.model
    assert isinstance(model, ChatGGUF)
    files = [model.model_path or default_weights(), *([model.adapter_path] if model.adapter_path else [])]
    return [*map(fingerprint, files), *([] if decomposer.fallback is None else checksums(decomposer.fallback))]


def load_made_with(folder: Path = FOLDER) -> dict[str, list[str]]:
    """Return the checksums of the weights behind each decomposer's records."""
    path = folder / _MADE_WITH
    found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _graded(
    example: Example,
    decomposer: Decomposer,
    about: Mapping[str, Mapping[str, str]],
    asking: frozenset[str],
) -> Grade:
    row = about[example.id.rpartition("/")[2]]
    plan = decomposer.invoke(example.asked)
    return grade(
        example,
        plan.subquestions,
        kind=row["kind"],
        language=row["language"],
        asking=asking,
        confidence=plan.confidence,
    )


def save_grades(grades: Iterable[Grade], path: Path) -> None:
    """Write grades, a line each."""
    path.write_text("".join(one.model_dump_json() + "\n" for one in grades), encoding="utf-8")


def load_grades(folder: Path) -> dict[str, list[Grade]]:
    """Return the grades of each decomposer whose records lie in a folder."""
    return {
        path.stem: [Grade.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def render(graded: Mapping[str, Sequence[Grade]]) -> str:
    """Return the grades of all decomposers as Markdown, and the good ones by kinds."""
    lines = [
        "# Everyday questions",
        "",
        "Made by `python -m training grade`, from the records beside this file. Shares in percent with 95% intervals "
        "by bootstrap over questions, n in brackets where it is not all. What is good stands in "
        "`training/measure/grade.py`. These questions chose the training mixture and the settings, so the figures lean "
        "to the bright side.",
        "",
        "| | " + " | ".join(graded) + " |",
        "| --- |" + " --- |" * len(graded),
    ]
    for title, share in _MEASURES.values():
        lines.append(f"| {title} | " + " | ".join(_cell(map(share, grades)) for grades in graded.values()) + " |")
    lines += ["", "Good, by kind:", "", "| | " + " | ".join(graded) + " |", "| --- |" + " --- |" * len(graded)]
    for kind in dict.fromkeys(one.kind for grades in graded.values() for one in grades):
        shares = [[_MEASURES["good"][1](one) for one in grades if one.kind == kind] for grades in graded.values()]
        lines.append(f"| {kind} | " + " | ".join(_cell(share) for share in shares) + " |")
    return "\n".join(lines) + "\n"


def _cell(shares: Iterable[Share]) -> str:
    listed = list(shares)
    found = ratio(listed) if listed else None
    if found is None:
        return ""
    size = "" if found.n == len(listed) else f" ({found.n})"
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]{size}"
