"""Tables of arms that answer (scores, what they keep of a teacher's, costs, the gate), and of arms that search."""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter, methodcaller
from statistics import fmean

from training.measure.config import ANSWER, REFERENCE, WHOLE
from training.measure.intervals import difference, ratio
from training.measure.records import AnswerRecord, RetrievalRecord
from training.measure.report import figures
from training.measure.report.markdown import NOTHING, counted, counts, dollars, fixed, percent, render_table, tokens
from training.measure.report.read import AnswerArm, Folder, RetrievalArm

_STUDENTS = ("shipped", "untuned", "gguf")
_TEACHERS = ("recorded", "model")


def render_answers(arms: Sequence[AnswerArm]) -> list[str]:
    """Return the lines of an answers folder: tables for each source, in the order of the settings."""
    lines = []
    sources = by_source(arms)
    for source, group in sources:
        lines += [f"### {source}", ""] if len(sources) > 1 else []
        versus = {arm.name: figures.baseline(arm, group) for arm in group}
        scores = _scores(group, versus, "to step by step")
        lines += ["Scores, in percent:", "", *scores, "Costs:", "", *_costs(group)]
        tables = {
            "What one change makes, in percent:": _changes(group),
            "Retention, in percent:": _retention(group),
            "The gate:": _gate(group),
        }
        for title, table in tables.items():
            lines += [title, "", *table] if table else []
    return lines


def render_retrieval(folder: Folder) -> list[str]:
    """Return the lines of a retrieval folder: a table for each budget, the costs, the answers."""
    lines = []
    for budget in folder.budgets:
        lines += [f"Found among {budget} passages, in percent:", "", *_found(folder.retrievals, budget)]
    lines += ["Costs of searching:", "", *_costs_of_searching(folder.retrievals)]
    if folder.answers:
        whole = next((arm for arm in folder.answers if arm.name == ANSWER + WHOLE), None)
        versus = {arm.name: whole for arm in folder.answers}
        lines += ["Answers read from what was found, in percent:", ""]
        lines += _scores(folder.answers, versus, f"to {ANSWER}{WHOLE}")
        lines += ["Costs of these, the search included:", "", *_costs(folder.answers)]
    return lines


def by_source(arms: Sequence[AnswerArm]) -> list[tuple[str, list[AnswerArm]]]:
    """Return the arms of each source, by its name."""
    source = attrgetter("source")
    return [(name, list(group)) for name, group in groupby(sorted(arms, key=source), key=source)]


def _scores(arms: Sequence[AnswerArm], versus: dict[str, AnswerArm | None], title: str) -> list[str]:
    """Return the lines of a table of scores.

    Args:
        arms: A row each.
        versus: By an arm's name, what it is compared with on the same questions.
        title: Heads the column of differences.
    """
    measures: dict[str, Callable[[AnswerRecord], float]] = {"strict": figures.strict}
    if any(one.f1 is not None for arm in arms for one in arm.records):
        measures["F1"] = lambda one: one.f1 or 0.0
    measures["lenient"] = attrgetter("lenient")
    rows = []
    for arm in arms:
        scores = [percent(figures.mean_score(arm.records, measure)) for measure in measures.values()]
        gained = percent(figures.paired_difference(arm, versus[arm.name], figures.strict), signed=True)
        row = [arm.name, arm.decomposer, arm.solver, arm.mode, counted(arm), *scores, gained]
        rows.append([*row, counts(figures.failures(arm.records))])
    return render_table(["arm", "decomposer", "solver", "mode", "n", *measures, title, "failures"], rows)


def _costs(arms: Sequence[AnswerArm]) -> list[str]:
    """Return the lines of a table of costs, by stage."""
    rows = []
    for arm in (one for one in arms if one.records):
        found = figures.cost(arm)
        free = None if arm.is_recorded else found.total if arm.kind == "model" else found.solver
        rows.append([arm.name, *_tokens(arm), *dollars(found), fixed(free, 3), fixed(figures.seconds(arm.records), 2)])
    header = ["arm", "decompose in / out", "solve in / out", "decomposer $", "solver $", "total $"]
    return render_table([*header, "total $, local free", "seconds"], rows)


def _tokens(arm: AnswerArm | RetrievalArm) -> list[str]:
    decompose = NOTHING if arm.is_recorded else tokens([one.decompose for one in arm.records])
    return [decompose, tokens([one.solve for one in arm.records])]


def _changes(arms: Sequence[AnswerArm]) -> list[str]:
    named = {arm.name: arm for arm in arms}
    rows = []
    for arm in arms:
        other = named.get(arm.versus or "")
        if other and (gained := figures.paired_difference(arm, other, figures.strict)):
            both = arm.by_id.keys() & other.by_id.keys()
            asked = ([one.by_id[name] for name in sorted(both)] for one in (arm, other))
            scores = [figures.mean_score(records, figures.strict) for records in asked]
            rows.append([arm.name, other.name, str(len(both)), *map(percent, scores), percent(gained, signed=True)])
    return render_table(["arm", "versus", "n", "strict", "of the other", "to the other"], rows)


def _retention(arms: Sequence[AnswerArm]) -> list[str]:
    rows = []
    for teacher in (arm for arm in arms if arm.kind in _TEACHERS):
        alike = [arm for arm in arms if arm.mode == teacher.mode and figures.alike(arm, teacher)]
        for arm in (arm for arm in alike if arm.kind in _STUDENTS):
            if share := figures.retained(arm, teacher, figures.strict):
                gained = percent(figures.paired_difference(arm, teacher, figures.strict), signed=True)
                rows.append([arm.name, teacher.name, arm.solver, str(share.n), percent(share), gained])
    header = ["arm", "teacher", "solver", "n", "share of the teacher's strict score", "to the teacher"]
    return render_table(header, rows)


def _gate(arms: Sequence[AnswerArm]) -> list[str]:
    rows = []
    for dividing, single in figures.gate_arms(arms):
        for one in figures.gate(dividing, single, figures.gate_thresholds(dividing)):
            mine, others = ([(score, 1.0) for score in scores] for scores in (one.strict, one.single))
            rows.append(
                [
                    dividing.name,
                    "divide all" if one.threshold is None else fixed(one.threshold, 2),
                    str(len(mine)),
                    fixed(100 * one.coverage, 1),
                    percent(ratio(mine)),
                    percent(difference(mine, others), signed=True),
                    NOTHING if one.risk_of_divided is None else fixed(100 * one.risk_of_divided, 1),
                    fixed(one.output_tokens, 0),
                ]
            )
    header = ["arm", "threshold", "n", "divided", "strict", "to step by step", "risk of the divided", "solve out"]
    return render_table(header, rows)


def _found(arms: Sequence[RetrievalArm], budget: int) -> list[str]:
    all_found: Callable[[RetrievalRecord], float] = methodcaller("is_complete", budget)
    recall: Callable[[RetrievalRecord], float] = methodcaller("recall", budget)
    named = {arm.name: arm for arm in arms}
    chains = sorted({record.hops for arm in arms for record in arm.records})
    rows = []
    for arm in arms:
        found, recalled = (
            [
                percent(figures.mean_score(arm.records, score)),
                percent(figures.paired_difference(arm, named.get(WHOLE), score), signed=True),
            ]
            for score in (all_found, recall)
        )
        kept = percent(figures.retained(arm, named.get(f"{REFERENCE}-{arm.mode}"), all_found))
        complete = ([one.is_complete(budget) for one in arm.records if one.hops == hops] for hops in chains)
        by_hops = [f"{sum(ones)} of {len(ones)}" if ones else NOTHING for ones in complete]
        rows.append([arm.name, counted(arm), *found, kept, *recalled, *by_hops])
    header = ["arm", "n", "all found", "to whole", "share of the reference's", "recall", "recall, to whole"]
    return render_table([*header, *(f"{hops} hops" for hops in chains)], rows)


def _costs_of_searching(arms: Sequence[RetrievalArm]) -> list[str]:
    rows = []
    for arm in (one for one in arms if one.records):
        records = arm.records
        # Of a plan whose subquestions belong to no hop nobody can say which answers are right; gold ones are not read.
        told = [one for one in records if one.read and one.read_right is not None and arm.mode == "sequential"]
        right = 100 * sum(one.read_right or 0 for one in told) / sum(one.read for one in told) if told else None
        rows.append(
            [
                arm.name,
                fixed(fmean(one.subquestions for one in records), 2),
                fixed(fmean(one.read for one in records), 2),
                fixed(right, 1),
                *_tokens(arm),
                *dollars(figures.cost(arm)),
                fixed(figures.seconds(records), 2),
                counts(figures.failures(records)),
            ]
        )
    header = ["arm", "subquestions", "read", "read right, %", "decompose in / out", "solve in / out"]
    return render_table([*header, "decomposer $", "solver $", "total $", "seconds", "failures"], rows)
