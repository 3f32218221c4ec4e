"""Demonstrations of our own, plans joined and composed of hops, and a subquestion for each fact of every source."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.training_tests.examples import needs_data
from tests.training_tests.rows import Row, read
from training.config import ROOT, Source, SourceName
from training.data.plans import Unusable, recorded_plan
from training.data.sources import read_source
from training.example import Example
from training.measure.grade import words

OWN = sorted((ROOT / "training" / "demonstrations").rglob("*.jsonl"))


def plan(example: Example, cap: int = 4) -> tuple[str, ...]:
    return recorded_plan(example, cap, "first")


def everyday(**changes: Any) -> Row:
    row = {"id": "t-1", "question": "Was more rain recorded in May or in June?", "context": None, "kind": "compare"}
    asked = ["How much rain was recorded in May?", "How much rain was recorded in June?"]
    return {**row, "subquestions": asked, "language": "en", **changes}


def test_a_reviewed_plan_is_taken_as_it_is_even_where_it_asks_in_the_questions_words(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "everyday", everyday())
    assert plan(found) == ("How much rain was recorded in May?", "How much rain was recorded in June?")


def test_a_reviewed_plan_beyond_the_cap_is_cut_and_one_that_no_grammar_writes_is_left_out(tmp_path: Path) -> None:
    (long,) = read(tmp_path, "everyday", everyday(subquestions=["Who?", "When was #1 born?", "Where was #1 born?"]))
    assert plan(long, 2) == ("Who?", "When was #1 born?")
    (broken,) = read(tmp_path, "everyday", everyday(subquestions=["Who? And when?", "Where?"]))
    with pytest.raises(Unusable, match="not in the grammar's language"):
        plan(broken)


def test_a_question_in_another_language_stays_whole_in_training(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "everyday_languages", everyday(language="de", question="Wer gründete die Firma?"))
    assert plan(found) == ()


def silver(number: int, tail: str = "When was #1 born?", hops: int = 2) -> Row:
    middle = [{"question": f"#{at} >> spouse", "answer": "Per Lund"} for at in range(1, hops - 1)]
    root = {"question": f"who built mill {number}", "answer": "Ida Voss"}
    row = {"question": f"When was the builder of mill {number} born, {hops}?", "answer": "1802"}
    return {**row, "hops": [root, *middle, {"question": tail, "answer": "1802"}], "covered": 1.0, "rerooted": 0}


def test_of_plans_that_end_in_the_same_hop_a_few_are_kept(tmp_path: Path) -> None:
    rows = [*(silver(n) for n in range(20)), *(silver(n, hops=3, tail="When was #2 born?") for n in range(20))]
    found = [len(plan(example)) for example in read(tmp_path, "musique_silver", *rows)]
    assert (found.count(2), found.count(3)) == (4, 8)
    assert (
        len(read(tmp_path, "musique_silver", *(silver(n, tail=f"Which ship {n} did #1 sail?") for n in range(20))))
        == 20
    )


def composed(*hops: str) -> Row:
    return {"question": "Where is the capital of the state of Voss?", "hops": [{"question": hop} for hop in hops]}


def test_a_composed_chain_is_kept_where_it_ends_as_a_person_would_ask(tmp_path: Path) -> None:
    kept = composed("Which state is Voss in?", "What is the capital of #1?", "Where is #2 located?")
    odd = composed("Which state is Voss in?", "What is the capital of #1?", "Who was in charge of #2 colony?")
    (found,) = read(tmp_path, "musique_composed", kept, odd)
    assert plan(found) == ("Which state is Voss in?", "What is the capital of #1?", "Where is #2 located?")


def test_two_chains_of_two_facts_are_four_subquestions(tmp_path: Path) -> None:
    question = "Do the directors of films Grey Harbour and Slow Tide have the same nationality?"
    evidence = [
        *("Grey Harbour->director->Ida Voss", "Slow Tide->director->Per Lund"),
        *("Ida Voss->country of citizenship->Norway", "Per Lund->country of citizenship->Norway"),
    ]
    (found,) = read(tmp_path, "wiki2", {"question": question, "answer": "yes", "evidence": evidence})
    assert plan(found) == (
        "Who directed Grey Harbour?",
        "Who directed Slow Tide?",
        "What is the nationality of #1?",
        "What is the nationality of #2?",
    )


def test_kinship_is_two_facts(tmp_path: Path) -> None:
    row = {"question": "Who is the paternal grandfather of Ida Voss?", "answer": "Olaf Voss"}
    evidence = ["Ida Voss->father->Jon Voss", "Jon Voss->father->Olaf Voss"]
    (found,) = read(tmp_path, "wiki2", {**row, "evidence": evidence})
    assert plan(found) == ("Who is the father of Ida Voss?", "Who is the father of #1?")


@needs_data
@pytest.mark.parametrize("name", ["everyday", "musique", "musique_silver", "musique_composed", "wiki2"])
def test_no_source_is_held_to_fewer_subquestions_than_it_has_facts_up_to_the_cap(name: SourceName) -> None:
    fewer = []
    for example in read_source(Source(name=name)):
        if example.recorded is None:
            continue
        facts = sum(bool(words(text)) for text in dict.fromkeys(example.recorded.subquestions))  # not "Who is #1?"
        try:
            kept = len(plan(example))
        except Unusable:
            continue
        if kept < min(facts, 4):
            fewer.append(example.id)
    assert fewer == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_each_demonstration_keeps_the_rules_of_form(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len({row["question"].casefold() for row in rows}) == len(rows)
    for row in rows:
        assert len(row["subquestions"]) in (0, 2, 3, 4), row["id"]
        assert all(text.endswith("?") and text.count("?") == 1 for text in row["subquestions"]), row["id"]
    for example in read_source(Source(name="everyday", path=path)):
        if not re.search(r"#(?!\d)", example.question):  # a "#" of the question's own stands in no student's plan
            plan(example)


def test_there_are_at_least_800_demonstrations_of_our_own() -> None:
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in OWN) >= 800


@needs_data
def test_the_evaluation_set_trains_nothing() -> None:
    from training.data.leaks import find_leaks

    train = [*read_source(Source(name="everyday")), *read_source(Source(name="everyday_languages"))]
    assert find_leaks(train, read_source(Source(name="everyday", split="dev")), 13) == {}
