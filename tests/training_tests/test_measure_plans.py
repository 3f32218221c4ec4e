"""The plans an arm's solver is given: recorded ones found by their question, written ones kept."""

import json
from pathlib import Path

import pytest

from langchain_divconq import Decomposer
from tests.training_tests.arms import ROWS, measurement, plan
from tests.unit_tests.fakes import failing, scripted
from training.config import DATA, Source
from training.data.sources import read_source
from training.example import Example, choose
from training.measure.config import DecomposerOptions
from training.measure.plans import take_recorded, write_plans

SETTINGS = {"decomposer": {"name": "d"}}


def examples(folder: Path) -> list[Example]:
    return [*read_source(measurement(folder).questions[0])]


def recorded(cap: int = 3) -> DecomposerOptions:
    return DecomposerOptions(kind="recorded", source="jsonl", max_subquestions=cap)


def test_recorded_plans_are_found_by_the_words_of_the_question(tmp_path: Path) -> None:
    asked = measurement(tmp_path).questions[0]
    renamed = [one.model_copy(update={"id": f"other/{one.id}", "recorded": None}) for one in examples(tmp_path)]
    found = take_recorded(renamed, recorded(), asked)
    assert [*found] == [one.id for one in renamed]
    assert found[renamed[0].id].decomposition.subquestions == tuple(ROWS[0]["subquestions"])
    capped = take_recorded(renamed, recorded(cap=1), asked)
    assert capped[renamed[0].id].decomposition.subquestions == tuple(ROWS[0]["subquestions"])[:1]


def test_a_question_without_a_usable_recorded_plan_says_why(tmp_path: Path) -> None:
    asked = measurement(tmp_path).questions[0]
    stranger = Example(id="s/1", source="s", split="dev", question="Who?", recorded=examples(tmp_path)[0].recorded)
    found = take_recorded([stranger], recorded(), asked)["s/1"]
    assert (found.no_plan, found.decomposition.subquestions) == ("nothing recorded", ())
    path = tmp_path / "imperative.jsonl"
    path.write_text(json.dumps({"id": 1, "question": "Who?", "subquestions": ["Set up a list"]}) + "\n")
    asked = asked.model_copy(update={"path": path})
    assert take_recorded([*read_source(asked)], recorded(), asked).popitem()[1].no_plan == "a subquestion asks nothing"


def test_written_plans_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    asked = examples(tmp_path)
    model = scripted(plan)
    path = tmp_path / "plans" / "d.jsonl"
    first = write_plans(asked[:5], Decomposer(model=model), path, SETTINGS, concurrency=3, title="")
    every = write_plans(asked, Decomposer(model=model), path, SETTINGS, concurrency=3, title="")
    assert len(model.seen) == len(asked)
    assert {name: every[name] for name in first} == first
    assert [*every] == [one.id for one in asked]
    assert every[asked[0].id].decomposition.usage.calls == 1


def test_plans_of_other_settings_are_refused(tmp_path: Path) -> None:
    asked, path = examples(tmp_path)[:1], tmp_path / "d.jsonl"
    write_plans(asked, Decomposer(model=scripted(plan)), path, SETTINGS, concurrency=1, title="")
    with pytest.raises(ValueError, match=r"d\.jsonl were made under other settings"):
        write_plans(asked, Decomposer(model=scripted(plan)), path, {"decomposer": {}}, concurrency=1, title="")
    path.unlink()
    write_plans(asked, Decomposer(model=scripted(plan)), path, {"decomposer": {}}, concurrency=1, title="")


def test_a_decomposer_that_gives_no_reply_is_asked_again_next_time(tmp_path: Path) -> None:
    [asked], path = examples(tmp_path)[:1], tmp_path / "d.jsonl"
    failed = write_plans([asked], Decomposer(model=failing(KeyError("x"))), path, SETTINGS, concurrency=1, title="")
    assert failed[asked.id].failure == "error: KeyError"
    assert failed[asked.id].decomposition.usage.calls == 1
    found = write_plans([asked], Decomposer(model=scripted(plan)), path, SETTINGS, concurrency=1, title="")
    assert found[asked.id].failure is None


@pytest.mark.skipif(not (DATA / "recorded_teacher").is_dir(), reason="GSM8K is not at hand")
@pytest.mark.parametrize(("source", "most"), [("gsm8k_socratic", 0), ("gsm8k_chatgpt", 0)])
def test_recorded_teachers_know_every_question_of_the_test_set(source: str, most: int) -> None:
    asked = Source(name="gsm8k", split="test")
    drawn = choose(read_source(asked), 200, 7)["gsm8k"]
    options = DecomposerOptions.model_validate({"kind": "recorded", "source": source})
    found = take_recorded(drawn, options, asked)
    assert sum(planned.no_plan == "nothing recorded" for planned in found.values()) == most
    assert sum(bool(planned.decomposition.subquestions) for planned in found.values()) > 150
