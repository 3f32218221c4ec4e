import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import BaseMessage

from langchain_divconq import Decomposer
from langchain_divconq.prompts import NO_DECOMPOSITION, decomposition_prompt
from langchain_divconq.usage import Price
from tests.training_tests.shelves import example, shelves_in, written
from tests.unit_tests.fakes import failing, scripted
from training.config import Config, Demonstrate, Load
from training.example import Example, LeftOut, Recorded, save_examples
from training.teach.demonstrate import demonstrate, preview_teacher, write_plan
from training.teach.requests import UnfinishedError
from training.teach.teachers import load_teacher, preview

TEACHER = "scripted:teacher"


def examples(*numbers: int) -> list[Example]:
    return [example(number) for number in numbers]


def plan_for(messages: Sequence[BaseMessage]) -> str:
    count = shelves_in(messages)
    return f"1. how many jars are on {count} shelves of 9?\n2. **How many of #1 jars are left after 4 break**"


def prepared(folder: Path, loaded: list[Example], validation: Sequence[Example] = (), **options: Any) -> Config:
    teaching = Demonstrate.model_validate({"teacher": TEACHER, **options})
    config = Config(name="run", output=folder, load=Load(train=()), demonstrate=teaching)
    save_examples(loaded, config.folder / "1-examples.jsonl")
    save_examples(validation, config.folder / "1-validation.jsonl")
    return config


def test_recorded_plans_are_taken_and_the_unusable_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = [
        example(1, recorded=Recorded(subquestions=("how many jars are on 1 shelf of 9", "What is #1 less 4?"))),
        example(2),
        example(3, recorded=Recorded(subquestions=())),
        example(4, recorded=Recorded(subquestions=("How many jars are left?",))),
    ]
    config = prepared(tmp_path, loaded, [loaded[2].model_copy(update={"id": "own/held-out"})], teacher="recorded")
    demonstrate(config)
    assert [(given.id, given.subquestions) for given in written(config, "2-demonstrations.jsonl")] == [
        ("own/1", ("How many jars are on 1 shelf of 9?", "What is #1 less 4?")),
        ("own/3", ()),
    ]
    assert [given.id for given in written(config, "2-validation.jsonl")] == ["own/held-out"]
    left_out = json.loads((config.folder / "2-left-out.json").read_text())
    assert set(left_out["examples"]) == {"own/2", "own/4"}
    assert left_out["counts"]["nothing recorded"] == 1
    printed = capsys.readouterr().out
    assert "3  kept" in printed
    assert "1  left out: nothing recorded" in printed


def test_a_teacher_is_asked_to_decompose_alone_and_its_plans_get_the_form_of_recorded_ones(tmp_path: Path) -> None:
    teacher = scripted(plan_for)
    config = prepared(tmp_path, examples(3, 1, 2), examples(7))
    demonstrate(config, teacher)
    shown = sorted(messages[-1].text for messages in teacher.seen)
    assert shown == sorted(f"Question: {given.question}" for given in examples(1, 2, 3, 7))
    first = example(3)
    assert decomposition_prompt(first.asked, 3, "one_shot") in teacher.seen
    assert written(config, "2-demonstrations.jsonl") == [
        given.model_copy(
            update={
                "subquestions": (
                    f"How many jars are on {given.question.split()[2]} shelves of 9?",
                    "How many of #1 jars are left after 4 break?",
                )
            }
        )
        for given in examples(3, 1, 2)
    ]
    assert [given.id for given in written(config, "2-validation.jsonl")] == ["own/7"]
    assert not list(config.folder.glob("*.journal"))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I would rather not.", "the reply is no plan"),
        ("1. How many are left of #2?\n2. How many are there?", "the reply is no plan"),
        ("1. How many jars are left?", "only restates the question"),
        ("1. How many jars are left when 4 are broken?! Which? How?", "not in the grammar's language"),
    ],
)
def test_a_reply_of_no_use_is_left_out_and_not_asked_for_again(reply: str, reason: str) -> None:
    teacher = scripted(reply)
    assert write_plan(example(1), Decomposer(model=teacher)) == LeftOut(id="own/1", reason=reason)
    assert len(teacher.seen) == 1


def test_a_teacher_may_say_that_nothing_needs_dividing() -> None:
    outcome = write_plan(example(1), Decomposer(model=scripted(NO_DECOMPOSITION)))
    assert outcome == example(1, subquestions=())


def test_an_example_too_long_for_the_teacher_is_left_out() -> None:
    outcome = write_plan(example(1), Decomposer(model=failing(ContextOverflowError("too long"))))
    assert outcome == LeftOut(id="own/1", reason="too long for the teacher")


def test_what_was_recorded_stays_beside_a_teachers_plan() -> None:
    recorded = Recorded(subquestions=("What is 9 less 4?",), prediction="5")
    outcome = write_plan(example(1, recorded=recorded), Decomposer(model=scripted(plan_for)))
    assert isinstance(outcome, Example)
    assert outcome.recorded == recorded


def test_left_out_replies_stay_left_out_when_a_failed_run_goes_on(tmp_path: Path) -> None:
    replies: dict[int, str | Exception | None] = {1: "no idea", 2: ConnectionError("no route"), 3: None}

    def reply(messages: list[BaseMessage]) -> str:
        said = replies[shelves_in(messages)]
        if isinstance(said, Exception):
            raise said
        return said or plan_for(messages)

    config = prepared(tmp_path, examples(1, 2, 3), attempts=1, concurrency=1)
    with pytest.raises(UnfinishedError, match="own/2: ConnectionError: no route"):
        demonstrate(config, scripted(reply))
    assert not (config.folder / "2-demonstrations.jsonl").exists()
    replies[2] = None
    teacher = scripted(reply)
    demonstrate(config, teacher)
    assert len(teacher.seen) == 1
    assert [given.id for given in written(config, "2-demonstrations.jsonl")] == ["own/2", "own/3"]
    assert json.loads((config.folder / "2-left-out.json").read_text())["examples"] == {"own/1": "the reply is no plan"}


def test_a_run_with_another_cap_does_not_go_on_from_this_one(tmp_path: Path) -> None:
    def fail_later(messages: list[BaseMessage]) -> str:
        if len(teacher.seen) > 1:
            raise ConnectionError("no route")
        return plan_for(messages)

    teacher = scripted(fail_later)
    with pytest.raises(UnfinishedError):
        demonstrate(prepared(tmp_path, examples(1, 2), attempts=1, concurrency=1), teacher)
    with pytest.raises(ValueError, match="max_subquestions was 3 and is 2"):
        demonstrate(prepared(tmp_path, examples(1, 2), max_subquestions=2), scripted(plan_for))
    # How fast it is asked may change.
    demonstrate(prepared(tmp_path, examples(1, 2), concurrency=1, attempts=2), scripted(plan_for))


def test_the_teacher_gets_no_more_requests_at_once_than_allowed(tmp_path: Path) -> None:
    teacher = scripted(plan_for, delay=0.01)
    demonstrate(prepared(tmp_path, examples(*range(10)), concurrency=2), teacher)
    assert teacher.most_in_flight == 2


def test_a_preview_counts_requests_tokens_and_dollars() -> None:
    prompts = [[message] for message in decomposition_prompt(example(1).asked, 3, "zero_shot")]
    characters = sum(len(prompt[0].text) for prompt in prompts)
    tokens = sum(5 + len(prompt[0].text) // 4 for prompt in prompts)
    assert abs(tokens - characters / 4) < 12
    assert preview("a:model", prompts, 50, Price(input=1_000, output=10_000)) == (
        f"a:model: 2 requests, about {tokens} tokens in and 100 out: about ${tokens / 1_000 + 1:.2f}, thinking not "
        "counted"
    )


def test_a_teachers_preview_comes_before_the_first_call_and_counts_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = True

    def reply(messages: list[BaseMessage]) -> str:
        nonlocal first
        if first:
            first = False
            assert "2 requests, about" in capsys.readouterr().out
            return plan_for(messages)
        raise ConnectionError("no route")

    prices: dict[str, Any] = {"dollars_per_million_input": 0.25, "dollars_per_million_output": 2.0}
    config = prepared(tmp_path, examples(1, 2), concurrency=1, attempts=1, **prices)
    with pytest.raises(UnfinishedError):
        demonstrate(config, scripted(reply))
    demonstrate(config, scripted(plan_for))
    assert f"{TEACHER}: 1 requests, about" in capsys.readouterr().out
    assert f" in and {2 * 60} out: about $0.00" in preview_teacher(examples(1, 2), config.demonstrate)
    assert preview_teacher(examples(1), Demonstrate()).endswith("no price is configured")


def test_a_run_that_leaves_no_demonstration_fails_and_keeps_what_was_paid_for(tmp_path: Path) -> None:
    config = prepared(tmp_path, examples(1, 2))
    with pytest.raises(ValueError, match="None of 2 examples has a plan"):
        demonstrate(config, scripted("no idea"))
    left = {path.name for path in config.folder.glob("2-*")}
    assert left == {"2-demonstrations.jsonl.journal", "2-demonstrations.jsonl.json"}


def test_a_teacher_that_cannot_be_loaded_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*nowhere\.gguf"):
        load_teacher(f"gguf:{tmp_path / 'nowhere.gguf'}")
    with pytest.raises(ValueError, match="'nosuch:model' cannot be set up"):
        load_teacher("nosuch:model")
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(ValueError, match="needs the package langchain"):
        load_teacher("openai:gpt-5-mini")


def test_a_run_that_was_cut_off_goes_on_to_the_same_artifact(tmp_path: Path) -> None:
    def fail_from_8(messages: list[BaseMessage]) -> str:
        if shelves_in(messages) >= 8:
            raise ConnectionError("no route")
        return plan_for(messages)

    loaded, held_out = examples(*range(12)), examples(12, 13)
    config = prepared(tmp_path, loaded, held_out, concurrency=3, attempts=1)
    with pytest.raises(UnfinishedError, match="6 requests failed"):
        demonstrate(config, scripted(fail_from_8))
    journal = config.folder / "2-demonstrations.jsonl.journal"
    with journal.open("ab") as file:  # the half-written row that a kill may leave
        file.write(b'{"id": "own/11", "question": "How ma')

    teacher = scripted(plan_for)
    demonstrate(config, teacher)
    assert sorted(map(shelves_in, teacher.seen)) == [*range(8, 14)]
    undisturbed = prepared(tmp_path / "undisturbed", loaded, held_out)
    demonstrate(undisturbed, scripted(plan_for))
    for name in ("2-demonstrations.jsonl", "2-validation.jsonl", "2-left-out.json"):
        assert (config.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    assert not journal.exists()
