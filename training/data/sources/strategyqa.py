"""StrategyQA: yes-or-no questions whose steps are implicit, with decompositions written by people."""

from collections.abc import Iterable, Iterator

from langchain_divconq.types import references
from training.data.plans import normalise_plan, normalise_subquestion
from training.data.sources.rows import Files, Row
from training.example import ONE_STEP, Example, Recorded, Split

FILES: Files = {"train": ("strategyqa/train.json",), "dev": ("strategyqa/dev.json",)}


def strategyqa(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the questions with their decompositions; the last step is often a check, and stays."""
    for row in rows:
        gold = "yes" if row["answer"] else "no"
        steps = row.get("decomposition")
        recorded = Recorded(subquestions=normalise_plan(steps), prediction=gold) if steps else None
        yield Example.of(source, split, row["qid"], row["question"].strip(), answers=(gold,), recorded=recorded)


def one_step(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the first step of each decomposition as a question of its own; its answer is not recorded."""
    for row in rows:
        steps = row.get("decomposition") or []
        if len(steps) > 1 and not references(steps[0]):
            yield Example.of(source, split, row["qid"], normalise_subquestion(steps[0]), recorded=ONE_STEP)
