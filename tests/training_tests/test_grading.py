"""Decomposers graded on everyday questions: who is asked, how, what it costs, and what is not asked again."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage

from langchain_divconq import students
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.llamacpp.engines.base import EngineSettings
from langchain_divconq.prompts import DEMONSTRATION
from tests.unit_tests.fake_engine import FakeEngine, install
from tests.unit_tests.fakes import ScriptedModel, scripted
from training.config import Source
from training.data.sources import read_source
from training.measure import everyday
from training.measure.everyday import Questions, grade_decomposers, load_arm, settings_of
from training.measure.grade import Grade, asking_words
from training.measure.report.everyday import load_grades

QUESTION = "In which city was the founder of the {} Mill born, and when was the mill sold?"
PLAN = "1. Who is the founder of the {0} Mill?\n2. In which city was #1 born?\n3. When was the {0} Mill sold?"
MILLS = ("Voss", "Reed", "Thorn")
MADE_UP = "1. Who is Per Lund?\n2. Where was #1 born?"


def mill(messages: list[BaseMessage]) -> str:
    return next(name for name in MILLS if f"the {name} Mill born" in messages[-1].text)


def good(messages: list[BaseMessage]) -> str:
    return PLAN.format(mill(messages))


@pytest.fixture
def questions(tmp_path: Path) -> Questions:
    rows = [
        {
            "id": f"q-{name}",
            "question": QUESTION.format(name),
            "context": None,
            "subquestions": [line[3:] for line in PLAN.format(name).split("\n")],
            "kind": "chain",
            "language": "en",
        }
        for name in MILLS
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = Source(name="everyday", split="dev", path=path)
    return Questions([*read_source(source)], {str(row["id"]): row for row in rows}, asking_words(()))


Arms = Callable[..., None]


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> Arms:
    """Put decomposers in the places of arms."""

    def put(**decomposers: Decomposer) -> None:
        for name, decomposer in decomposers.items():
            monkeypatch.setitem(everyday.ARMS, name, partial(Decomposer.model_copy, decomposer))

    return put


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeEngine, list[EngineSettings]]:
    """An engine in the place of each, and what is asked of it."""
    for module in (everyday, students):
        monkeypatch.setattr(module, "default_weights", lambda size: Path(f"{size}.gguf"))
    engine = FakeEngine([PLAN.format("Voss")])
    return engine, install(monkeypatch, engine)


@pytest.mark.parametrize(
    ("arm", "weights"),
    [("untuned-small", "small.gguf"), ("untuned-medium", "medium.gguf"), ("solver-1.5b=solver.gguf", "solver.gguf")],
)
def test_weights_that_nobody_taught_are_asked_with_a_demonstration(
    arm: str, weights: str, asked: tuple[FakeEngine, list[EngineSettings]]
) -> None:
    engine, settings = asked
    name, decomposer = load_arm(arm)
    assert decomposer.invoke(QUESTION.format("Voss")).subquestions
    assert (name, settings[0].model_path, settings[0].adapter_path) == (arm.partition("=")[0], Path(weights), None)
    assert DEMONSTRATION[0] in str(engine.requests[0].prompt)


@pytest.mark.parametrize("arm", ["small", "medium"])
def test_students_are_asked_as_they_were_taught(arm: str, asked: tuple[FakeEngine, list[EngineSettings]]) -> None:
    engine, settings = asked
    load_arm(arm)[1].invoke(QUESTION.format("Voss"))
    assert settings[0].adapter_path is not None
    assert DEMONSTRATION[0] not in str(engine.requests[0].prompt)


def test_the_small_asks_the_medium_where_it_is_unsure(asked: tuple[FakeEngine, list[EngineSettings]]) -> None:
    _, decomposer = load_arm("small-then-medium")
    assert decomposer == Decomposer("small", fallback=Decomposer("medium"))


@pytest.mark.parametrize("arm", ["large", "Large=model.gguf", "small=model.gguf", "../up=model.gguf", "mine="])
def test_what_is_no_arm_is_an_error_that_names_those_there_are(arm: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no decomposer\. Name one of small, medium, small-then-medium, small-greedy, "
    ):
        load_arm(arm)


def test_a_record_keeps_what_each_stage_used(tmp_path: Path, questions: Questions, arms: Arms) -> None:
    def unsure_of_one(messages: list[BaseMessage]) -> str:
        return MADE_UP if mill(messages) == "Reed" else good(messages)

    small, medium = ScriptedModel(reply=unsure_of_one, delay=0.01), ScriptedModel(reply=good, delay=0.02)
    arms(**{"small-then-medium": Decomposer(small, fallback=Decomposer(medium))})
    grade_decomposers(["small-then-medium"], tmp_path / "out", questions=questions)
    sure, unsure, _ = load_grades(tmp_path / "out")["small-then-medium"]
    assert [*sure.used] == ["small"]
    assert [*unsure.used] == ["small", "medium"]
    first, second = unsure.used.values()
    assert (first.calls, first.output_tokens) == (1, len(MADE_UP.split()))
    assert (second.calls, second.output_tokens) == (1, len(PLAN.split()))
    assert first.input_tokens == sum(len(message.text.split()) for message in small.seen[1])
    assert first.seconds >= 0.01
    assert unsure.seconds == first.seconds + second.seconds >= 0.03
    assert sure.good
    assert unsure.good


def test_what_has_a_record_is_not_asked_again_after_an_interruption_or_at_all(
    tmp_path: Path, questions: Questions, arms: Arms
) -> None:
    def fails_once(messages: list[BaseMessage]) -> str:
        if mill(messages) == "Reed" and len(model.seen) == 2:
            raise RuntimeError("the server is gone")
        return good(messages)

    model = scripted(fails_once)
    arms(small=Decomposer(model))
    with pytest.raises(RuntimeError, match="the server is gone"):
        grade_decomposers(["small"], tmp_path / "out", questions=questions)
    assert [one.id for one in load_grades(tmp_path / "out")["small"]] == ["q-Voss"]
    for _ in range(2):
        grade_decomposers(["small"], tmp_path / "out", questions=questions)
    assert [mill(messages) for messages in model.seen] == ["Voss", "Reed", "Reed", "Thorn"]
    assert [one.id for one in load_grades(tmp_path / "out")["small"]] == ["q-Voss", "q-Reed", "q-Thorn"]


def test_several_arms_stand_side_by_side_and_a_limit_takes_the_first_questions(
    tmp_path: Path, questions: Questions, arms: Arms, capsys: pytest.CaptureFixture[str]
) -> None:
    arms(small=Decomposer(scripted(good)), medium=Decomposer(scripted(lambda messages: "NONE")))
    grade_decomposers(["small", "medium"], tmp_path / "out", limit=2, questions=questions)
    assert "small: 100.0% of 2 good\nmedium: 0.0% of 2 good" in capsys.readouterr().out
    grade_decomposers(["small"], tmp_path / "out", questions=questions)
    table = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| questions | 3 | 2 |" in table
    assert "| good plans, or rightly none | 100% [100%, 100%] | 0% [0%, 0%] |" in table


def test_records_of_other_settings_are_not_added_to(tmp_path: Path, questions: Questions, arms: Arms) -> None:
    arms(small=Decomposer(scripted(good)))
    grade_decomposers(["small"], tmp_path / "out", limit=1, questions=questions)
    other = ScriptedModel(reply=good, model_name="another")
    arms(small=Decomposer(other, min_confidence=0.5))
    with pytest.raises(
        ValueError, match=r"other settings: .*min_confidence was 0\.2 and is 0\.5.*was 'scripted' and is"
    ):
        grade_decomposers(["small"], tmp_path / "out", questions=questions)
    assert other.seen == []
    (tmp_path / "out" / "small.jsonl").unlink()
    grade_decomposers(["small"], tmp_path / "out", limit=1, questions=questions)
    assert len(other.seen) == 1


def test_records_hang_on_the_weights_of_each_stage_and_name_no_place(tmp_path: Path) -> None:
    for name in ("model", "other"):
        (tmp_path / f"{name}.gguf").write_bytes(name.encode())
    found = settings_of(Decomposer(tmp_path / "model.gguf", fallback=Decomposer(tmp_path / "other.gguf")))
    assert [*found["weights"]] == ["decomposer", "fallback"]
    assert len(set(found["weights"].values())) == 2
    assert str(tmp_path) not in json.dumps(found)
    (tmp_path / "other.gguf").write_bytes(b"trained again")
    again = settings_of(Decomposer(tmp_path / "model.gguf", fallback=Decomposer(tmp_path / "other.gguf")))
    assert [name for name in found["weights"] if again["weights"][name] != found["weights"][name]] == ["fallback"]


def test_a_students_confidence_hangs_on_its_card(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("model.gguf", "adapter.gguf", "adapter.json")}
    for path in files.values():
        path.write_text("{}")
    model = students.gguf_model("decomposer", str(files["model.gguf"]), adapter_path=files["adapter.gguf"])
    assert [*settings_of(Decomposer(model))["weights"]] == ["decomposer", "decomposer_adapter", "decomposer_card"]
    files["adapter.json"].unlink()
    assert [*settings_of(Decomposer(model))["weights"]] == ["decomposer", "decomposer_adapter"]


def test_a_reply_that_holds_no_plan_leaves_the_question_whole(tmp_path: Path, questions: Questions, arms: Arms) -> None:
    arms(small=Decomposer(scripted("I would rather not.")))
    grade_decomposers(["small"], tmp_path / "out", limit=1, questions=questions)
    [found] = load_grades(tmp_path / "out")["small"]
    assert (found.written, found.good, found.no_plan) == (0, False, "DecompositionError")
    assert found.used["small"].calls == 1


def test_a_record_says_what_is_right_even_where_all_is(tmp_path: Path, questions: Questions, arms: Arms) -> None:
    arms(small=Decomposer(scripted(good)))
    grade_decomposers(["small"], tmp_path / "out", limit=1, questions=questions)
    record = json.loads((tmp_path / "out" / "small.jsonl").read_text(encoding="utf-8"))
    assert record.items() >= {"decision": True, "met": 3, "linked": True, "invented": False}.items()
    assert Grade.model_validate(record).good
