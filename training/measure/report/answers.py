"""Tables of arms that answer questions: scores, what they keep of a teacher's, costs, the gate."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from training.measure.intervals import difference, ratio
from training.measure.report.figures import (
    alike,
    baseline,
    cost,
    failures,
    gate,
    gate_arm,
    gate_thresholds,
    mean_score,
    paired_difference,
    retained,
    seconds,
    strict,
)
from training.measure.report.markdown import NOTHING, counted, dollars, fixed, percent, render_table, tokens
from training.measure.report.read import AnswerArm

_STUDENTS = ("shipped", "untuned", "gguf")
_TEACHERS = ("recorded", "model")


def render_answers(arms: Sequence[AnswerArm]) -> list[str]:
    """Return the lines of an answers folder: tables for each source, in the order of the settings."""
    lines = []
    sources = by_source(arms)
    for source, group in sources:
        lines += [f"### {source}", ""] if len(sources) > 1 else []
        versus = {arm.name: baseline(arm, group) for arm in group}
        scores = render_scores(group, versus, "to step by step")
        lines += ["Scores, in percent:", "", *scores, "Costs:", "", *render_costs(group)]
        tables = {
            "What one change makes, in percent:": _changes(group),
            "Retention, in percent:": _retention(group),
            "The gate:": _gate(group),
        }
        for title, table in tables.items():
            lines += [title, "", *table] if table else []
    return lines


def by_source(arms: Sequence[AnswerArm]) -> list[tuple[str, list[AnswerArm]]]:
    """Return the arms of each source, by its name."""
    source = attrgetter("source")
    return [(name, list(group)) for name, group in groupby(sorted(arms, key=source), key=source)]


def render_scores(arms: Sequence[AnswerArm], versus: dict[str, AnswerArm | None], title: str) -> list[str]:
    """Return the lines of a table of scores.

    Args:
        arms: A row each.
        versus: By an arm's name, what it is compared with on the same questions.
        title: Heads the column of differences.
    """
    has_f1 = any(one.f1 is not None for arm in arms for one in arm.records)
    header = ["arm", "decomposer", "solver", "mode", "n", "strict", *["F1"] * has_f1, "lenient", title, "failures"]
    rows = []
    for arm in arms:
        other = versus.get(arm.name)
        gained = None if other is None or other is arm else paired_difference(arm, other, strict)
        f1 = [percent(mean_score(arm.records, lambda one: one.f1 or 0.0))] if has_f1 else []
        scores = [
            percent(mean_score(arm.records, strict)),
            *f1,
            percent(mean_score(arm.records, attrgetter("lenient"))),
        ]
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(failures(arm.records).items())) or NOTHING
        row = [arm.name, arm.decomposer, arm.solver, arm.mode, counted(arm), *scores, percent(gained, signed=True), why]
        rows.append(row)
    return render_table(header, rows)


def render_costs(arms: Sequence[AnswerArm]) -> list[str]:
    """Return the lines of a table of costs, by stage."""
    header = ["arm", "decompose in / out", "solve in / out", "decomposer $", "solver $", "total $"]
    rows = []
    for arm in arms:
        if not arm.records:
            continue
        found = cost(arm)
        free = None if arm.is_recorded else found.total if arm.kind == "model" else found.solver
        used = [tokens([one.decompose for one in arm.records]), tokens([one.solve for one in arm.records])]
        used[0] = NOTHING if arm.is_recorded else used[0]
        rows.append([arm.name, *used, *dollars(found), fixed(free, 3), fixed(seconds(arm.records), 2)])
    return render_table([*header, "total $, local free", "seconds"], rows)


def _changes(arms: Sequence[AnswerArm]) -> list[str]:
    named = {arm.name: arm for arm in arms}
    rows = []
    for arm in arms:
        other = named.get(arm.versus or "")
        if other is None or (gained := paired_difference(arm, other, strict)) is None:
            continue
        both = arm.by_id.keys() & other.by_id.keys()
        scores = [mean_score([one.by_id[name] for name in sorted(both)], strict) for one in (arm, other)]
        rows.append([arm.name, other.name, str(len(both)), *map(percent, scores), percent(gained, signed=True)])
    return render_table(["arm", "versus", "n", "strict", "of the other", "to the other"], rows)


def _retention(arms: Sequence[AnswerArm]) -> list[str]:
    rows = []
    for teacher in (arm for arm in arms if arm.kind in _TEACHERS):
        for arm in (arm for arm in arms if arm.kind in _STUDENTS and arm.mode == teacher.mode and alike(arm, teacher)):
            share = retained(arm, teacher, strict)
            if share is not None:
                gained = paired_difference(arm, teacher, strict)
                row = [arm.name, teacher.name, arm.solver, str(share.n), percent(share), percent(gained, signed=True)]
                rows.append(row)
    return render_table(
        ["arm", "teacher", "solver", "n", "share of the teacher's strict score", "to the teacher"], rows
    )


def _gate(arms: Sequence[AnswerArm]) -> list[str]:
    rows = []
    for single in (arm for arm in arms if arm.mode == "step_by_step"):
        if (dividing := gate_arm(single, arms)) is None:
            continue
        for one in gate(dividing, single, gate_thresholds(dividing)):
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
