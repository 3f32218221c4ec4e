"""Tables of arms that search: what they find within each budget, and what that costs; the answers read from it."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from training.measure.config import ANSWER, REFERENCE, WHOLE
from training.measure.records import RetrievalRecord
from training.measure.report.answers import render_costs, render_scores
from training.measure.report.figures import cost, mean_score, paired_difference, retained, seconds
from training.measure.report.markdown import NOTHING, counted, dollars, fixed, percent, render_table, tokens
from training.measure.report.read import Folder, RetrievalArm


def render_retrieval(folder: Folder) -> list[str]:
    """Return the lines of a retrieval folder: a table for each budget, the costs, the answers."""
    lines = []
    for budget in folder.budgets:
        lines += [f"Found among {budget} passages, in percent:", "", *_budget(folder.retrievals, budget)]
    lines += ["Costs of searching:", "", *_costs(folder.retrievals)]
    if folder.answers:
        whole = next((arm for arm in folder.answers if arm.name == ANSWER + WHOLE), None)
        versus = {arm.name: whole for arm in folder.answers}
        lines += ["Answers read from what was found, in percent:", ""]
        lines += render_scores(folder.answers, versus, f"to {ANSWER}{WHOLE}")
        lines += ["Costs of these, the search included:", "", *render_costs(folder.answers)]
    return lines


def _budget(arms: Sequence[RetrievalArm], budget: int) -> list[str]:
    def all_found(record: RetrievalRecord) -> float:
        return float(record.is_complete(budget))

    def recall(record: RetrievalRecord) -> float:
        return record.recall(budget)

    named = {arm.name: arm for arm in arms}
    chains = sorted({record.hops for arm in arms for record in arm.records})
    rows = []
    for arm in arms:
        whole = named.get(WHOLE)
        reference = named.get(f"{REFERENCE}-{arm.mode}")
        to_whole = [
            None if whole is None or whole is arm else paired_difference(arm, whole, score)
            for score in (all_found, recall)
        ]
        kept = None if reference is None or reference is arm else retained(arm, reference, all_found)
        rows.append(
            [
                arm.name,
                counted(arm),
                percent(mean_score(arm.records, all_found)),
                percent(to_whole[0], signed=True),
                percent(kept),
                percent(mean_score(arm.records, recall)),
                percent(to_whole[1], signed=True),
                *(_complete([one for one in arm.records if one.hops == hops], budget) for hops in chains),
            ]
        )
    header = ["arm", "n", "all found", "to whole", "share of the reference's", "recall", "recall, to whole"]
    return render_table([*header, *(f"{hops} hops" for hops in chains)], rows)


def _complete(records: Sequence[RetrievalRecord], budget: int) -> str:
    return f"{sum(one.is_complete(budget) for one in records)} of {len(records)}" if records else NOTHING


def _costs(arms: Sequence[RetrievalArm]) -> list[str]:
    rows = []
    for arm in arms:
        records = arm.records
        if not records:
            continue
        read = sum(one.read for one in records)
        # Of a plan whose subquestions belong to no hop nobody can say which answers are right; gold ones are not read.
        told = [one for one in records if one.read and one.read_right is not None and arm.mode == "sequential"]
        right = (
            f"{100 * sum(one.read_right or 0 for one in told) / sum(one.read for one in told):.1f}" if told else NOTHING
        )
        lacks = Counter(f"no plan: {one.no_plan}" for one in records if one.no_plan is not None)
        lacks.update(one.failure for one in records if one.failure is not None)
        rows.append(
            [
                arm.name,
                fixed(fmean(one.subquestions for one in records), 2),
                fixed(read / len(records), 2),
                right,
                NOTHING if arm.is_recorded else tokens([one.decompose for one in records]),
                tokens([one.solve for one in records]),
                *dollars(cost(arm)),
                fixed(seconds(records), 2),
                ", ".join(f"{reason}: {count}" for reason, count in sorted(lacks.items())) or NOTHING,
            ]
        )
    header = ["arm", "subquestions", "read", "read right, %", "decompose in / out", "solve in / out"]
    return render_table([*header, "decomposer $", "solver $", "total $", "seconds", "failures"], rows)
