"""The tables of what was measured, made of the records in training/results alone.

A measurement's records are read as they lie, so that a table stands whatever arms there are. An arm belongs to a column
by the decomposer it had; figures of an adapter that no longer ships are marked.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from tests.repository import LIBRARY, ROOT
from training.measure.grade import Grade
from training.measure.intervals import difference

RESULTS = ROOT / "training" / "results"
FEWEST = 50
"""An arm with fewer records is no figure yet."""

PASSAGES = 9
"""As many as the retriever returns where it is not told."""

Record: TypeAlias = Mapping[str, Any]
Scores: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """A column of a table of results."""

    title: str
    arms: tuple[str, ...]
    """The arms that belong there by name; the first there is counts."""
    adapter: str | None = None
    """The file of the adapter that ships; figures of another are marked. None: the column has no adapter."""
    is_planless: bool = False
    """Whether its arms have no plan, and so none of a row's ways to fill one."""
    is_shown: bool = True
    """Whether the README shows it."""
    is_greedy: bool = False
    """Whether its plans are a student's without beam search, as those are whose metrics are published."""


SMALL, MEDIUM = "smollm2-135m*.gguf", "qwen2.5-coder-0.5b*.gguf"
EARLIER = ["", "\\* measured with an earlier version's decomposer."]

COLUMNS = (
    Column("not divided", ("whole", "step-by-step"), is_planless=True),
    Column("the solver's own query", ("rewrite",), is_planless=True, is_shown=False),
    Column("untuned", ("untuned", "untuned-small")),
    Column("the solver, one example", ("solver-1.5b",)),
    Column("small, greedy", ("small-greedy", "small_greedy"), SMALL, is_shown=False, is_greedy=True),
    Column("small", ("small", "deep", "shipped"), SMALL),
    Column("medium, greedy", ("medium-greedy", "medium_greedy"), MEDIUM, is_shown=False, is_greedy=True),
    Column("medium", ("medium",), MEDIUM),
    Column("dataset's own plans", ("reference", "teacher")),
)


@dataclass(frozen=True)
class Row:
    """A row: its title, a folder of records, the score of one, and what stands around a column's name in an arm's."""

    title: str
    folder: str
    score: Callable[[Record], float]
    prefix: str = ""
    suffix: str = ""


def has_all(record: Record) -> float:
    """Return 1 where all passages that a question needs are among those returned."""
    return float(all(rank is not None and rank <= PASSAGES for rank in record["found"]))


def is_right(record: Record) -> float:
    """Return the strict score of an answer."""
    return float(record["strict"])


def is_good(record: Record) -> float:
    """Return 1 for a good plan of an everyday question."""
    return float(Grade.model_validate(record).good)


ROWS = (
    Row("everyday questions: a good plan, or rightly none", "everyday", is_good),
    Row(
        "2Wiki with distractors: all passages found, each hop's answer known",
        "multihop-wiki2",
        has_all,
        suffix="-oracle",
    ),
    Row("MuSiQue with distractors: the same", "multihop-musique", has_all, suffix="-oracle"),
    Row("MuSiQue: all passages found, the solver reads for each hop", "retrieval", has_all, suffix="-sequential"),
    Row("MuSiQue: all passages found, each hop's answer known", "musique-499", has_all, suffix="-oracle"),
    Row("… by vectors in place of words", "retrieval-embedding", has_all, suffix="-oracle"),
    Row("MuSiQue: questions answered from what was found", "retrieval", is_right, "answer-", "-sequential"),
    Row("GSM8K (arithmetic): right answers", "gsm8k", is_right),
    Row("DROP (questions about a passage): right answers", "drop", is_right),
    Row("Bamboogle (trivia): right answers", "bamboogle", is_right),
)


@dataclass(frozen=True)
class Cell:
    """Scores of one arm by question; `is_current`: they are of what ships."""

    scores: Scores
    is_current: bool = True


def render_helps() -> str:
    """Return the table of one number a cell: percent, over the questions that all of a row's arms were asked.

    Only what was measured with a decomposer that ships has a row.
    """
    found = [(row, {at: cell for at, cell in _cells(row).items() if COLUMNS[at].is_shown}) for row in ROWS]
    shipped = {at for at, column in enumerate(COLUMNS) if column.adapter}
    found = [(row, {at: cell for at, cell in cells.items() if cell.is_current}) for row, cells in found]
    found = [(row, cells) for row, cells in found if shipped & cells.keys()]
    return _table(found, lambda scores, _: f"{100 * sum(scores.values()) / len(scores):.0f}")


def render_differences() -> str:
    """Return the table of what dividing changes: points against not dividing, with 95% intervals."""
    found = [(row, _cells(row)) for row in ROWS]
    return _table([(row, cells) for row, cells in found if 0 in cells], _difference, without=0)


def _difference(scores: Scores, whole: Scores) -> str:
    found = difference([(scores[name], 1.0) for name in whole], [(whole[name], 1.0) for name in whole])
    assert found is not None
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _table(
    found: Sequence[tuple[Row, Mapping[int, Cell]]], show: Callable[[Scores, Scores], str], without: int | None = None
) -> str:
    found = [(row, cells) for row, cells in found if cells]
    shown = [at for at in range(len(COLUMNS)) if at != without and any(at in cells for _, cells in found)]
    lines = [f"| | n | {' | '.join(COLUMNS[at].title for at in shown)} |", "| --- | --- |" + " --- |" * len(shown)]
    is_marked = False
    for row, cells in found:
        common = set.intersection(*(set(cell.scores) for cell in cells.values()))
        alike = {at: {name: cell.scores[name] for name in sorted(common)} for at, cell in cells.items()}
        texts = []
        for at in shown:
            if at not in cells:
                texts.append("\u2013")
                continue
            mark = "" if cells[at].is_current else "\\*"
            is_marked |= bool(mark)
            texts.append(show(alike[at], alike.get(0, {})) + mark)
        lines.append(f"| {row.title} | {len(common)} | {' | '.join(texts)} |")
    if is_marked:
        lines += EARLIER
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> dict[int, Cell]:
    """Return a row's cells by column; none where one arm alone has records."""
    settings = settings_of(row.folder)
    found = {}
    for at, column in enumerate(COLUMNS):
        suffix = "" if column.is_planless else row.suffix
        names = [f"{row.prefix}{arm}{suffix}" for arm in column.arms]
        for name in names:
            records = records_of(row.folder, name)
            if len(records) < FEWEST:
                continue
            scores = {record["id"]: row.score(record) for record in records}
            found[at] = Cell(scores, column.adapter is None or is_current(settings.get(name), column.adapter))
            break
    return found if len(found) > 1 else {}


def is_current(settings: Mapping[str, Any] | None, adapter: str) -> bool:
    """Return whether an arm had the adapter that ships; a folder without settings is measured when an adapter ships."""
    if settings is None:
        return True
    weights = settings.get("retrieval", settings).get("weights", {})
    return weights.get("decomposer_adapter") in (None, *_checksums(adapter))


@lru_cache
def _checksums(adapter: str) -> tuple[str, ...]:
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in (LIBRARY / "adapters").glob(adapter))


def settings_of(folder: str) -> Mapping[str, Any]:
    """Return what the arms of a folder were measured with, by their names."""
    path = RESULTS / folder / "settings.json"
    arms: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["arms"] if path.exists() else {}
    return arms


def records_of(folder: str, arm: str) -> list[Record]:
    """Return the records of an arm as they lie; none: there are none."""
    path = RESULTS / folder / f"{arm}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


_MEASURES = {
    "parse_rate": "replies that parse, held to no grammar",
    "repeats_or_copies": "plans with a repeat or a copy of the question",
    "uses_references_recall": "plans that use a reference where one is needed",
    "undivided_one_step": "questions of one step left whole",
    "undivided_multi_step": "questions of several steps left whole (wrong)",
    "agreement": "agreement with the dataset's plan, from 0 to 1",
}


def render_plans() -> str:
    """Return the table of what the plans are like: each decomposer's that ships, and the same model's untuned."""
    shown: dict[str, Mapping[str, Any]] = {}
    for column in COLUMNS:
        if column.adapter is None or not column.is_greedy:  # of the columns of a student, one
            continue
        if (published := _published(column.adapter)) is not None:
            is_current = published["weights"]["adapter"] in _checksums(column.adapter)
            shown[column.title if is_current else f"{column.title}\\*"] = published["metrics"]["all"]
    header = [title for name in shown for title in (name, f"{name}, untuned")]
    lines = [f"| | {' | '.join(header)} |", "| --- |" + " --- |" * len(header)]
    for measure, words in _MEASURES.items():
        cells = [
            f"{found['value']:.2f}" if (found := metrics.get(measure, {}).get(of)) else "\u2013"
            for metrics in shown.values()
            for of in ("ours", "untuned")
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    if any(title.endswith("*") for title in shown):
        lines += EARLIER
    return "\n".join(lines) + "\n"


def _published(adapter: str) -> Mapping[str, Any] | None:
    """Return what was published of the adapter that ships, or else of an earlier one that has its name."""
    paths = sorted(RESULTS.glob("*/metrics.json"))
    found: list[Mapping[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    current = [one for one in found if one["weights"]["adapter"] in _checksums(adapter)]
    earlier = [one for path, one in zip(paths, found, strict=True) if path.parent.match(adapter.removesuffix(".gguf"))]
    return next(iter([*current, *earlier]), None)


def render_students() -> str:
    """Return the table of students of one size, one taught to divide and one to answer."""
    return _arms(
        "gsm8k",
        {
            "nobody divides; the solver works step by step": "step-by-step",
            "a model taught to divide; the solver answers": "s_d-t",
            "GSM8K's own subquestions; a model taught to answer": "s_e-t",
        },
    )


def render_modes() -> str:
    """Return the table of ways to answer subquestions."""
    return _arms(
        "gsm8k",
        {
            "not divided, step by step": "step-by-step",
            "`fused`": "shipped",
            "`sequential`": "shipped-sequential",
            "`parallel`": "shipped-parallel",
            "the solver asks itself, a question at a time": "self-ask",
        },
    )


def _arms(folder: str, named: Mapping[str, str]) -> str:
    """Return a table of arms that answer: the share of right answers to the questions that all were asked."""
    found = {words: records for words, arm in named.items() if len(records := records_of(folder, arm)) >= FEWEST}
    common = set.intersection(*({record["id"] for record in records} for records in found.values())) if found else set()
    lines = [f"| of {len(common)} problems | right, % | solver's tokens, in and out |", "| --- | --- | --- |"]
    for words, records in found.items():
        alike = [record for record in records if record["id"] in common]
        right = 100 * sum(map(is_right, alike)) / len(alike)
        used = [
            sum(record["solve"][name] for record in alike) / len(alike) for name in ("input_tokens", "output_tokens")
        ]
        lines.append(f"| {words} | {right:.0f} | {used[0]:,.0f} / {used[1]:,.0f} |")
    return "\n".join(lines) + "\n"
