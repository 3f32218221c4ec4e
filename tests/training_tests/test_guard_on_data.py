"""The guard and the checks on people's own questions and plans: what they let pass, and what they catch.

No question of an evaluation set is read. Without the folder of datasets beside the checkout there is nothing to read.
"""

import json
import re
from typing import Any

import pytest

from langchain_divconq.checks import fault
from langchain_divconq.guard import reason_to_leave_whole
from langchain_divconq.types import Question
from training.config import ROOT

DATA = ROOT.parent / "shared" / "data"
EVERYDAY = ("chains_and_comparisons", "work_and_agents", "when_to_divide")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no datasets in {DATA}")


def everyday(name: str) -> list[dict[str, Any]]:
    path = DATA / "everyday" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def left_whole(text: str, context: str | None = None) -> bool:
    return reason_to_leave_whole(Question(text=text, context=context), english_only=True) is not None


def read(path: str) -> Any:
    return json.loads((DATA / path).read_text(encoding="utf-8"))


def test_no_everyday_question_that_people_divided_is_left_whole_and_many_of_the_others_are() -> None:
    rows = [row for name in EVERYDAY for row in everyday(name)]
    caught = {True: 0, False: 0}
    for row in rows:
        caught[bool(row["subquestions"])] += left_whole(row["question"], row["context"])
    assert caught[True] == 0
    assert caught[False] >= 105  # of 319: single facts in more words are left to the model


def test_questions_in_other_languages_are_left_whole() -> None:
    rows = everyday("languages")
    assert sum(left_whole(row["question"]) for row in rows) >= 0.95 * len(rows)


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("strategyqa/train.json", 2061),
        ("wiki2/2wiki_train_qa_pairs_500.json", 500),
        ("hotpotqa/hotpotqa_train_500.json", 500),
    ],
)
def test_hardly_any_benchmark_question_is_left_whole(path: str, least: int) -> None:
    questions = [row["question"] for row in read(path)]
    assert len(questions) >= least
    assert sum(map(left_whole, questions)) <= 0.002 * len(questions)


def test_hardly_any_math_problem_is_left_whole() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    questions = parquet.read_table(DATA / "gsm8k" / "main_train.parquet").column("question").to_pylist()
    assert sum(map(left_whole, questions)) <= 0.002 * len(questions)


def test_hardly_any_plan_of_the_demonstrations_fails_a_check() -> None:
    rows = [row for name in EVERYDAY for row in everyday(name) if row["subquestions"]]
    failed = [
        row["id"]
        for row in rows
        if fault(row["subquestions"], Question(text=row["question"], context=row["context"])) is not None
    ]
    assert len(failed) <= 0.01 * len(rows), failed


def test_of_musiques_own_plans_hardly_any_loses_the_question() -> None:
    plans: list[tuple[str, list[str]]] = []

    def gather(value: Any) -> None:
        if isinstance(value, dict) and "hops" in value:
            hops = [hop["question"] if isinstance(hop, dict) else hop for hop in value["hops"]]
            plans.append((value["question"], hops))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            gather(inner)

    gather(read("musique/musique_train_decompositions.json"))
    found = [fault(plan, Question(text=question)) or "" for question, plan in plans]
    lost = [reason for reason in found if re.search("shares no word|loses|births", reason)]
    assert len(plans) > 1000
    assert len(lost) <= 0.005 * len(plans)
