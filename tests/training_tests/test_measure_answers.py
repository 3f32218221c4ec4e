"""Questions answered by arms: whatever happens, each has one record, and it says what happened."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelConnectionError, ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage

from langchain_divconq.errors import ContextLengthError, WeightsNotFoundError
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.training_tests.arms import ROWS, boxes, measurement, models, plan, records, solve
from tests.unit_tests.fakes import ScriptedModel, failing, scripted
from training.measure.records import Used
from training.measure.run import measure
from training.teach.requests import UnfinishedError


def message_model(content: Any, **fields: Any) -> ScriptedModel:
    return scripted(lambda _: AIMessage(content, **fields))


def step_by_step(folder: Path, **changes: Any) -> Any:
    return measurement(folder, arms=[{"name": "a", "solver": "s", "mode": "step_by_step"}], **changes)


def failing_on(numbers: set[int], error: Exception, then: Callable[[list[BaseMessage]], str] = solve) -> ScriptedModel:
    def reply(messages: list[BaseMessage]) -> str:
        if boxes(messages) in numbers:
            raise error
        return then(messages)

    return scripted(reply)


def test_each_question_gets_a_record_in_the_drawn_order(tmp_path: Path) -> None:
    config = measurement(tmp_path)
    measure(config, models=models())
    found = records(config)
    assert {name for name, record in found.items() if record.why == "right"} == {f"q{n}" for n in range(1, 7)}
    assert [*found] != [row["id"] for row in ROWS], "the seed draws"
    one = found["q1"]
    assert (one.strict, one.lenient, one.f1, one.answer, one.mode, one.subquestions) == (1, 1, None, "5", "fused", 2)
    assert (one.decompose.calls, one.solve.calls, one.solve.output_tokens) == (1, 1, 5)
    assert found["q8"].why == "wrong"


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_killed_run_goes_on_and_ends_with_the_same_file(tmp_path: Path, kept: int, concurrency: int) -> None:
    solvers = {"s": {"model": "openai:some", "concurrency": concurrency}}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    questions = measurement(tmp_path).questions
    whole = measurement(tmp_path / "whole", solvers=solvers, questions=questions)
    measure(whole, models=models())
    config = measurement(tmp_path / "killed", solvers=solvers, questions=questions)
    measure(config, models=models())
    for path in (config.results_folder / "a.jsonl", config.folder / "plans" / "d-jsonl.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:-9])
    fakes = models()
    measure(config, models=fakes)
    assert [*records(config).items()] == [*records(whole).items()]
    assert [len(fakes[name].seen) for name in "sd"] == [len(ROWS) - kept] * 2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_broken_set_up_ends_the_run_and_what_is_finished_is_kept(tmp_path: Path, concurrency: int) -> None:
    solvers = {"s": {"model": "openai:some", "concurrency": concurrency}}
    config = measurement(tmp_path, solvers=solvers)
    asked: list[int] = []

    def reply(messages: list[BaseMessage]) -> str:
        asked.append(boxes(messages))
        if len(asked) == 5:
            raise ModelConnectionError("nobody listens there")
        return solve(messages)

    with pytest.raises(ModelConnectionError, match="nobody listens"):
        measure(config, models=models(s=scripted(reply)))
    before = records(config)
    assert 5 - concurrency <= len(before) <= 4
    fakes = models(d=failing(RuntimeError("plans are kept")))
    measure(config, models=fakes)
    after = records(config)
    assert len(fakes["s"].seen) == len(ROWS) - len(before)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(ROWS)


@pytest.mark.parametrize(
    "error", [ModelAuthenticationError("no key"), WeightsNotFoundError("no file"), ModelConnectionError("no server")]
)
@pytest.mark.parametrize("role", ["s", "d"])
def test_what_fails_every_question_is_raised_at_once(tmp_path: Path, error: Exception, role: str) -> None:
    config = measurement(tmp_path)
    with pytest.raises(type(error), match=str(error)):
        measure(config, models=models(**{role: failing(error)}))
    assert not (config.results_folder / "a.jsonl").exists()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ModelTimeoutError("too slow"), "timeout"),
        (TimeoutError(), "timeout"),
        (ContextLengthError(9, 5), "error: ContextLengthError"),
        (KeyError("choices"), "error: KeyError"),
        (type("ContentFilterFinishReasonError", (Exception,), {})(), "refused"),
    ],
)
def test_a_call_that_fails_is_a_record_that_counts_as_wrong(tmp_path: Path, error: Exception, why: str) -> None:
    config = step_by_step(tmp_path)
    measure(config, models=models(s=failing_on({2}, error)))
    found = records(config)
    assert (found["q2"].why, found["q2"].strict, found["q2"].lenient, found["q2"].answer) == (why, 0, 0, None)
    assert found["q2"].solve == Used(calls=1, unmetered_calls=1)
    assert found["q1"].why == "right"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (message_model(""), "empty reply"),
        (message_model(" \n"), "empty reply"),
        (message_model([{"type": "reasoning", "reasoning": "Hm."}]), "empty reply"),
        (message_model([{"type": "image", "url": "https://example.org/a.png"}]), "not text"),
        (message_model("", tool_calls=[{"name": "add", "args": {}, "id": "1"}]), "not text"),
        (message_model("", additional_kwargs={"refusal": "I cannot."}), "refused"),
        (message_model("I can", response_metadata={"finish_reason": "content_filter"}), "refused"),
        (message_model([{"type": "refusal", "refusal": "No."}]), "refused"),
        (message_model("I think that it may be five,\nor it may be six."), "no answer"),
    ],
)
def test_a_reply_that_is_none_is_a_record_that_counts_as_wrong(tmp_path: Path, model: ScriptedModel, why: str) -> None:
    config = step_by_step(tmp_path)
    measure(config, limit=2, models=models(s=model))
    assert [record.why for record in records(config).values()] == [why] * 2
    assert [record.strict for record in records(config).values()] == [0, 0]


def test_failures_are_asked_again_on_request_alone(tmp_path: Path) -> None:
    config = measurement(tmp_path)
    slow = ModelTimeoutError("too slow")
    measure(config, models=models(s=failing_on({2, 5}, slow), d=failing_on({3}, slow, then=plan)))
    before = records(config)
    assert {name for name, record in before.items() if record.why == "timeout"} == {"q2", "q3", "q5"}
    assert (before["q3"].solve.calls, before["q3"].decompose.calls) == (0, 1)
    again = models()
    measure(config, models=again)
    assert again["s"].seen == []
    measure(config, models=again, retry_failed=True)
    assert sorted(map(boxes, again["s"].seen)) == [2, 3, 5]
    assert [boxes(messages) for messages in again["d"].seen] == [3]
    after = records(config)
    assert [*after] == [*before]
    assert {record.why for record in after.values()} == {"right", "wrong"}


def test_a_failure_counts_as_wrong_until_it_is_asked_again(tmp_path: Path) -> None:
    config = step_by_step(tmp_path)
    measure(config, models=models(s=failing_on({*range(1, 9)}, ModelTimeoutError("too slow"))))
    first, *others = records(config)
    measure(config, limit=1, models=models(), retry_failed=True)
    after = records(config)
    assert after[first].why != "timeout"
    assert {after[name].why for name in others} == {"timeout"}


def test_arms_whose_adapter_was_not_trained_here_are_left_out_unless_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decomposers = {"mine": {"kind": "gguf", "adapter": tmp_path / "adapter.gguf"}}
    arms = [
        {"name": "plain", "solver": "s", "mode": "step_by_step"},
        {"name": "trained", "solver": "s", "decomposer": "mine", "mode": "fused"},
    ]
    config = measurement(tmp_path, decomposers=decomposers, arms=arms)
    measure(config, models={"s": scripted(solve)})
    assert f"trained is left out. There is no adapter {tmp_path / 'adapter.gguf'}" in capsys.readouterr().out
    assert sorted(path.name for path in config.results_folder.glob("*.jsonl")) == ["plain.jsonl"]
    with pytest.raises(WeightsNotFoundError, match="There is no adapter"):
        measure(config, arms=["trained"], models={"s": scripted(solve)})


def test_seconds_are_shared_by_no_more_questions_than_were_asked(tmp_path: Path) -> None:
    solvers = {"s": {"model": "openai:some", "concurrency": 8}}
    config = step_by_step(tmp_path, solvers=solvers)
    measure(config, limit=1, models=models(s=scripted(solve, delay=0.2)))
    [line] = (config.results_folder / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["solve"]["seconds"] >= 0.2


def test_no_more_questions_are_in_flight_than_allowed(tmp_path: Path) -> None:
    model = scripted(solve, delay=0.02)
    measure(step_by_step(tmp_path, solvers={"s": {"model": "openai:some", "concurrency": 3}}), models=models(s=model))
    assert model.most_in_flight == 3


def test_many_questions_in_a_row_without_a_reply_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.measure.task._HOPELESS", 4)
    config = step_by_step(tmp_path)
    with pytest.raises(UnfinishedError, match="a: 4 questions in a row got no reply, the last: error: RuntimeError"):
        measure(config, models=models(s=failing(RuntimeError("500"))))
    assert len(records(config)) == 4


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    config = step_by_step(tmp_path)

    def reply(messages: list[BaseMessage]) -> str:
        if len(model.seen) == 4:
            signal.raise_signal(signal.SIGINT)
        return solve(messages)

    model = scripted(reply, delay=0.01)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        measure(config, models=models(s=model))
    before = len(records(config))
    assert 3 <= before <= 4
    fakes = models()
    measure(config, models=fakes)
    assert len(fakes["s"].seen) == len(ROWS) - before


def test_every_mode_counts_its_calls(tmp_path: Path) -> None:
    decomposed = {"decomposer": "d", "solver": "s"}
    arms: list[dict[str, Any]] = [
        {"name": "direct", "solver": "s", "mode": "direct"},
        {"name": "self-ask", "solver": "s", "mode": "self_ask"},
        {"name": "fused", **decomposed, "mode": "fused"},
        {"name": "sequential", **decomposed, "mode": "sequential"},
        {"name": "parallel", **decomposed, "mode": "parallel", "limit": 2},
    ]
    config = measurement(tmp_path, arms=arms)
    fakes = models()
    measure(config, limit=3, models=fakes)
    found = {arm["name"]: records(config, arm["name"]) for arm in arms}
    calls = {name: [record.solve.calls for record in group.values()] for name, group in found.items()}
    once = dict.fromkeys(["direct", "self-ask", "fused"], [1] * 3)
    assert calls == {**once, "sequential": [3] * 3, "parallel": [3] * 2}
    assert {name: {record.mode for record in group.values()} for name, group in found.items()} == {
        name: {name.replace("-", "_")} for name in found
    }
    assert len(fakes["d"].seen) == 3, "arms share the plans of a decomposer"
    assert [*found["parallel"]] == [*found["direct"]][:2], "a smaller arm asks some of a larger one's questions"


def test_a_question_without_a_plan_is_asked_single_stage_and_says_why(tmp_path: Path) -> None:
    replies = {1: NO_DECOMPOSITION, 2: "I would rather not."}
    config = measurement(tmp_path)
    measure(config, models=models(d=scripted(lambda messages: replies.get(boxes(messages)) or plan(messages))))
    found = records(config)
    told = [(found[name].mode, found[name].subquestions, found[name].no_plan) for name in ("q1", "q2", "q3")]
    assert told == [("step_by_step", 0, None), ("step_by_step", 0, "DecompositionError"), ("fused", 2, None)]
    assert found["q2"].decompose.calls == 1


def test_results_hold_no_text_of_questions_plans_or_replies(tmp_path: Path) -> None:
    config = measurement(tmp_path, arms=[{"name": "a", "decomposer": "r", "solver": "s", "mode": "sequential"}])
    measure(config, models=models())
    for path in config.results_folder.iterdir():
        text = path.read_text()
        assert not [word for word in ("boxes", "pens", "How many", "Let me see") if word in text], path.name


def test_settings_hold_what_was_measured_and_no_key(tmp_path: Path) -> None:
    options = {"api_key": "secret", "base_url": "http://127.0.0.1:1/v1", "max_tokens": 9, "timeout": 5}
    solvers = {"s": {"model": "openai:some", "options": options, "price": {"input": 1, "output": 2}}}
    config = measurement(tmp_path, solvers=solvers)
    measure(config, limit=2, models=models())
    text = (config.results_folder / "settings.json").read_text()
    settings = json.loads(text)
    assert "secret" not in text
    assert settings["arms"]["a"] == {
        "decomposer": {"name": "d", "kind": "model", "model": "openai:some", "max_subquestions": 3, "gate": 0.75},
        "solver": {"name": "s", "model": "openai:some", "options": {"max_tokens": 9}},
        "mode": "fused",
        "source": "jsonl",
        "split": "dev",
        "questions": settings["arms"]["a"]["questions"],
        "n": len(ROWS),
        "prices": {"solver": {"input": 1.0, "output": 2.0}, "decomposer": None},
        "weights": {},
    }
    assert (settings["name"], settings["kind"], settings["n"]) == ("try", "answers", {"jsonl": len(ROWS)})


def test_changed_settings_are_refused_before_a_model_is_asked(tmp_path: Path) -> None:
    measure(measurement(tmp_path), models=models())
    fakes = models()
    with pytest.raises(ValueError, match=r"other settings: a: solver\.model was 'openai:some' and is 'openai:other'"):
        measure(measurement(tmp_path, solvers={"s": {"model": "openai:other"}}), models=fakes)
    with pytest.raises(ValueError, match="other settings: seed was 0 and is 3"):
        measure(measurement(tmp_path, seed=3), models=fakes)
    measure(measurement(tmp_path, solvers={"s": {"model": "openai:some", "concurrency": 8}}), models=fakes)
    assert fakes["s"].seen == []


def test_records_of_other_questions_in_a_file_of_ones_own_are_refused(tmp_path: Path) -> None:
    measure(measurement(tmp_path), models=models())
    questions = tmp_path / "questions.jsonl"
    questions.write_text(questions.read_text().replace("gives away 7", "gives away 8"))
    with pytest.raises(ValueError, match="other settings: a: questions was "):
        measure(measurement(tmp_path), models=models())


def test_the_cost_is_shown_before_a_model_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def reply(messages: list[BaseMessage]) -> str:
        shown.append(capsys.readouterr().out)
        return plan(messages)

    measure(measurement(tmp_path), models=models(d=scripted(reply)))
    assert "a, decomposer d: 8 requests" in shown[0]
    assert "no price is configured" in shown[0].splitlines()[0]
    assert "a, solver s: 8 requests" in shown[0]
    assert "about $0.0" in shown[0].splitlines()[1]
    assert "a: 6 of 8 right" in capsys.readouterr().out


def test_an_unknown_arm_and_questions_without_gold_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no arm 'b' in try; there are a"):
        measure(measurement(tmp_path), arms=["b"], models=models())
    (tmp_path / "questions.jsonl").write_text('{"id": 1, "question": "Why?"}\n')
    with pytest.raises(ValueError, match="1 questions of 'jsonl' have no gold answer"):
        measure(measurement(tmp_path), models=models())


def test_a_missing_model_is_told_before_anything_runs(tmp_path: Path) -> None:
    fakes = models()
    del fakes["s"]
    with pytest.raises(WeightsNotFoundError, match=r"There is no model .*nowhere\.gguf"):
        measure(measurement(tmp_path, solvers={"s": {"model": "gguf:nowhere.gguf"}}), models=fakes)
    solvers = {"s": {"model": "gguf:bundled", "adapter": "nowhere.gguf"}}
    with pytest.raises(WeightsNotFoundError, match=r"There is no adapter .*nowhere\.gguf"):
        measure(measurement(tmp_path, solvers=solvers), models=fakes)
    assert fakes["d"].seen == []


def test_the_whole_reply_is_judged_and_the_answer_is_kept_cut(tmp_path: Path) -> None:
    config = step_by_step(tmp_path)
    measure(
        config, limit=8, models=models(s=scripted("It is 5, 17, 29, 41, 53, 65, 77 or 89.\nAnswer: " + "five " * 90))
    )
    assert {record.lenient for record in records(config).values()} == {1}
    assert {len(record.answer or "") for record in records(config).values()} == {120}
