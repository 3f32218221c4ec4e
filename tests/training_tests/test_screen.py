import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import BaseMessage

from langchain_divconq import Solver
from langchain_divconq.prompts import fused_prompt
from tests.training_tests import shelves
from tests.training_tests.shelves import shelves_in
from tests.unit_tests.fakes import ScriptedModel, failing, scripted
from training.config import Config, Role
from training.example import Example, LeftOut, Recorded, save_examples
from training.teach.requests import UnfinishedError
from training.teach.screen import WRONG, answer_through, recorded_subanswers, screen, select, take_recorded_answers

PLAN = ("How many jars are on the shelves?", "What is #1 less 4?")


def example(number: int, **fields: Any) -> Example:
    return shelves.example(number, **{"answers": (str(number * 9 - 4),), "subquestions": PLAN, **fields})


def solving(right: Callable[[list[BaseMessage]], bool], **fields: Any) -> ScriptedModel:
    """A solver that is right where it is told to be, and one off elsewhere."""

    def reply(messages: list[BaseMessage]) -> str:
        jars = shelves_in(messages) * 9
        answer = jars - 4 if right(messages) else jars - 3
        return f"1. There are\n   {jars} jars.\n2. {answer} are left.\n\nAnswer: {answer} jars"

    return scripted(reply, **fields)


def odd(messages: list[BaseMessage]) -> bool:
    return shelves_in(messages) % 2 == 1


def prepared(
    folder: Path, role: Role, demonstrations: Sequence[Example], validation: Sequence[Example] = (), **options: Any
) -> Config:
    teacher = {"teacher": options.pop("teacher", "scripted:teacher")}
    solver = {"solver": "scripted:solver", "attempts": 1, **options}
    stages = {"load": {"train": []}, "demonstrate": teacher, "screen": solver, "finetune": {"role": role}}
    config = Config.model_validate({"name": "run", "output": folder, **stages})
    save_examples(demonstrations, config.folder / "2-demonstrations.jsonl")
    save_examples(validation, config.folder / "2-validation.jsonl")
    return config


def written(config: Config, name: str = "3-screened.jsonl") -> list[Example]:
    return shelves.written(config, name)


def left_out(config: Config) -> Any:
    return json.loads((config.folder / "3-left-out.json").read_text())


def test_without_screening_all_demonstrations_go_through_as_they_are(tmp_path: Path) -> None:
    config = prepared(tmp_path, "S_D-T", [example(1), example(2, answers=())], [example(3)])
    screen(config)
    for before, after in (("2-demonstrations.jsonl", "3-screened.jsonl"), ("2-validation.jsonl", "3-validation.jsonl")):
        assert (config.folder / before).read_bytes() == (config.folder / after).read_bytes()
    assert left_out(config) == {"counts": {}, "examples": {}}


def test_what_misses_the_gold_answer_goes_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demonstrations = [*map(example, (3, 2, 1)), example(9, answers=())]
    config = prepared(tmp_path, "S_D-R", demonstrations, [example(4), example(5)])
    solver = solving(odd)
    screen(config, solver)
    assert [(given.id, given.prediction) for given in written(config)] == [("own/3", "23 jars"), ("own/1", "5 jars")]
    assert [given.id for given in written(config, "3-validation.jsonl")] == ["own/5"]
    assert left_out(config)["counts"] == {WRONG: 2, "no gold answer": 1}
    assert fused_prompt(example(3).asked, PLAN) in solver.seen
    assert f"2  left out: {WRONG}" in capsys.readouterr().out
    assert not list(config.folder.glob("*.journal"))


def test_a_solvers_student_keeps_wrong_answers_but_not_missing_ones(tmp_path: Path) -> None:
    def reply(messages: list[BaseMessage]) -> str:
        asked = messages[-1].text
        if f"only this subquestion:\n{PLAN[0]}" in asked:
            return "They hold jars.\nWho can count them?" if shelves_in(messages) == 4 else "Count.\nAnswer: many"
        if "only this subquestion" in asked:
            assert "less 4" in asked
            return "Take away.\nAnswer: few"
        return "Who\nknows?" if shelves_in(messages) == 3 else "Fewer.\nAnswer: 7"

    config = prepared(tmp_path, "S_E-T", [*map(example, (1, 2, 3, 4))])
    solver = scripted(reply)
    screen(config, solver)
    assert [(given.id, given.prediction, given.subanswers) for given in written(config)] == [
        ("own/1", "7", ("many", "few")),
        ("own/2", "7", ("many", "few")),
    ]
    assert len(solver.seen) == 3 * 3 + 2  # the second subquestion needs the first one's answer
    assert left_out(config)["examples"] == {"own/3": "no final answer", "own/4": "no answer to each subquestion"}


def test_no_solver_is_asked_where_only_gold_answers_are_learned(tmp_path: Path) -> None:
    solver = solving(odd)
    config = prepared(tmp_path, "S_E-A-direct", [example(1), example(2, answers=())])
    screen(config, solver)
    assert not solver.seen
    assert [given.id for given in written(config)] == ["own/1"]


@pytest.mark.parametrize(
    ("role", "fields", "reason"),
    [
        ("S_D-T", {}, None),
        ("S_D-R", {"prediction": "5"}, None),
        ("S_D-R", {"prediction": ""}, WRONG),
        ("S_D-R", {"prediction": "5", "answers": ()}, "no gold answer"),
        ("S_D-R", {"subquestions": ()}, None),
        ("S_E-T", {"prediction": "6", "subanswers": ("9", "6")}, None),
        ("S_E-T", {"prediction": "6", "subanswers": ("9", "6"), "answers": ()}, None),
        ("S_E-T", {"prediction": "6"}, "no answer to each subquestion"),
        ("S_E-T", {"prediction": "6", "subquestions": (), "subanswers": ()}, None),
        ("S_E-T", {"prediction": "", "subanswers": ("9", "6")}, "no final answer"),
        ("S_E-T-direct", {"prediction": "6"}, None),
        ("S_E-A", {"prediction": "", "subanswers": ("9", "6")}, None),
        ("S_E-A", {"prediction": "6", "subanswers": ("9", "6"), "answers": ()}, "no gold answer"),
        ("S_E-A-direct", {}, None),
    ],
)
def test_each_role_keeps_what_it_can_learn_from(role: Role, fields: dict[str, Any], reason: str | None) -> None:
    given = example(1, **fields)
    assert select(given, role) == (given if reason is None else LeftOut(id="own/1", reason=reason))


def test_a_question_without_subquestions_is_answered_in_one_stage() -> None:
    solver = scripted("9 - 4 = 5\nAnswer: 5")
    outcome = answer_through(example(1, subquestions=()), Solver(model=solver))
    assert outcome == example(1, subquestions=(), prediction="5", subanswers=(), working="9 - 4 = 5")


def test_an_example_too_long_for_the_solver_is_left_out() -> None:
    outcome = answer_through(example(1), Solver(model=failing(ContextOverflowError("too long"))))
    assert outcome == LeftOut(id="own/1", reason="too long for the solver")


def test_recorded_answers_need_no_solver(tmp_path: Path) -> None:
    recorded = Recorded(subquestions=PLAN, subanswers=("9", "5"), prediction="5")
    demonstrations = [
        example(1, recorded=recorded),
        example(2, recorded=recorded),
        example(3, recorded=Recorded(subquestions=()), subquestions=()),
    ]
    config = prepared(tmp_path, "S_D-R", demonstrations, teacher="recorded", solver="recorded")
    screen(config)
    assert [(given.id, given.prediction, given.subanswers) for given in written(config)] == [
        ("own/1", "5", ("9", "5")),
        ("own/3", None, None),
    ]


def test_the_recorded_working_goes_with_a_whole_plan_alone() -> None:
    recorded = Recorded(subquestions=PLAN, subanswers=("9", "5"), working="9 less 4 is 5.", prediction="5")
    whole, cut = take_recorded_answers(
        [example(1, recorded=recorded), example(2, recorded=recorded, subquestions=PLAN[:1])], "S_E-T"
    )
    assert isinstance(whole, Example)
    assert isinstance(cut, Example)
    assert (whole.working, cut.working, cut.prediction) == ("9 less 4 is 5.", None, "5")


def test_the_solvers_working_is_what_stands_before_its_answer() -> None:
    found = answer_through(example(1), Solver(model=solving(odd)))
    assert isinstance(found, Example)
    assert found.working == "1. There are\n   9 jars.\n2. 5 are left."


def test_a_missing_recorded_answer_names_the_example() -> None:
    lacking = [example(n, recorded=Recorded(subquestions=PLAN)) for n in range(1, 8)]
    with pytest.raises(ValueError, match=r"No final answer is recorded for own/1, .*own/5 and 2 more, so S_D-R"):
        take_recorded_answers(lacking, "S_D-R")


def test_recorded_answers_belong_to_recorded_plans_alone(tmp_path: Path) -> None:
    config = prepared(tmp_path, "S_D-R", [example(1)], solver="recorded")
    with pytest.raises(ValueError, match="the plans are scripted:teacher's"):
        screen(config)


def test_recorded_subanswers_are_found_for_a_plan_that_was_cut_and_renumbered() -> None:
    recorded = Recorded(
        subquestions=("how many jars does Ida have", "how many break", "Given #1 and #2, how many are left"),
        subanswers=("18", "4", "14"),
    )
    cut = example(2, recorded=recorded, subquestions=("How many break?", "Given #1, how many are left?"))
    assert recorded_subanswers(cut) == ("4", "14")
    assert recorded_subanswers(cut.model_copy(update={"subquestions": ("How many jars are blue?",)})) is None
    without = recorded.model_copy(update={"subanswers": None})
    assert recorded_subanswers(cut.model_copy(update={"recorded": without})) is None


def test_a_failed_run_goes_on_without_asking_twice(tmp_path: Path) -> None:
    def broken(messages: list[BaseMessage]) -> str:
        if shelves_in(messages) == 3:
            raise ConnectionError("no route")
        return "1. a\n2. b\nAnswer: 5"

    config = prepared(tmp_path, "S_D-R", [*map(example, (1, 2, 3))])
    with pytest.raises(UnfinishedError, match="own/3: ConnectionError"):
        screen(config, scripted(broken))
    assert not (config.folder / "3-screened.jsonl").exists()
    solver = solving(odd)
    screen(config, solver)
    assert [shelves_in(messages) for messages in solver.seen] == [3]
    assert [given.id for given in written(config)] == ["own/1", "own/3"]


def test_the_solver_gets_no_more_requests_at_once_than_allowed(tmp_path: Path) -> None:
    solver = solving(odd, delay=0.01)
    screen(prepared(tmp_path, "S_D-R", [*map(example, range(10))], concurrency=2), solver)
    assert solver.most_in_flight == 2


def test_a_screen_that_nothing_passes_fails(tmp_path: Path) -> None:
    config = prepared(tmp_path, "S_D-R", [example(2)])
    with pytest.raises(ValueError, match="None of 1 demonstrations is left for S_D-R"):
        screen(config, solving(odd))
    assert not (config.folder / "3-screened.jsonl").exists()
