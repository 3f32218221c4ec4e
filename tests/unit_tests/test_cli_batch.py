"""Files of questions on the command line: a record each, durable, resumed, never mixed."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.exceptions import ModelAuthenticationError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from langchain_divconq.cli import main
from langchain_divconq.errors import InvalidWeightsError
from langchain_divconq.types import Decomposition, Solution
from tests.unit_tests.command_line import MODELS, REPLY, read_records, solver_of, write_questions
from tests.unit_tests.fakes import QUESTION, failing, scripted


def test_a_file_of_questions_becomes_a_file_of_records(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(
        tmp_path,
        {"id": "a", "question": QUESTION, "answer": "ignored"},
        {"question": QUESTION, "context": "Ja, blaue."},
        {"id": 7, "question": QUESTION},
    )
    output = tmp_path / "solutions.jsonl"
    assert main(["ask", *MODELS, "--input", str(questions), "--output", str(output)]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("3 finished\ndecomposer: ")
    records = {json.dumps(record.get("id", record.get("line"))): record for record in read_records(output)}
    assert set(records) == {'"a"', "2", "7"}
    assert records["2"]["line"] == 2
    solution = Solution.model_validate(records["2"]["solution"])
    assert (solution.answer, solution.decomposition.question.context) == ("29", "Ja, blaue.")


def test_records_go_to_stdout_where_no_file_is_named(
    models: dict[str, BaseChatModel], type_in: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(
        f'{{"question": "{QUESTION}"}}\n\n'
        '{"question": "Why are so many pens left in 3 boxes of 12 when 7 are given away?"}\n'
    )
    assert main(["decompose", "--decomposer", "fake:decomposer", "--input", "-"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["line"] for record in records} == {1, 3}
    assert all(Decomposition.model_validate(record["decomposition"]).subquestions for record in records)


def test_a_context_on_the_command_line_is_for_the_lines_that_bring_none(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path, {"question": "How?"}, {"question": "Why?", "context": "Mine."})
    main(["decompose", *MODELS[2:], "--input", str(questions), "--context", "Shared."])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {r["line"]: r["decomposition"]["question"]["context"] for r in records} == {1: "Shared.", 2: "Mine."}


def test_the_calls_in_flight_are_limited(models: dict[str, BaseChatModel], tmp_path: Path) -> None:
    models["fake:solver"] = scripted(REPLY, delay=0.01)
    questions = write_questions(tmp_path, *({"question": f"How many, {number}?"} for number in range(8)))
    main(["ask", *MODELS, "--concurrency", "2", "--input", str(questions), "--output", str(tmp_path / "out.jsonl")])
    assert solver_of(models).most_in_flight == 2


def test_a_failed_question_is_named_and_asked_again_by_the_next_run(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(messages: list[BaseMessage]) -> str:
        if "Bad?" in messages[-1].text:
            raise RuntimeError("not this one")
        return REPLY

    models["fake:solver"] = scripted(reply)
    questions = write_questions(tmp_path, {"id": 1, "question": "Bad?"}, {"id": 2, "question": "Good?"})
    command = ["ask", *MODELS, "--input", str(questions), "--output", str(tmp_path / "out.jsonl")]
    assert main(command) == 1
    assert "id 1: RuntimeError: not this one\n" in capsys.readouterr().err
    assert [record["id"] for record in read_records(tmp_path / "out.jsonl")] == [2]

    models["fake:solver"] = scripted(REPLY)
    assert main(command) == 0
    assert "1 finished, 1 before\n" in capsys.readouterr().err
    assert {record["id"]: "solution" in record for record in read_records(tmp_path / "out.jsonl")} == {1: True, 2: True}
    assert len(read_records(tmp_path / "out.jsonl")) == 2
    assert len(solver_of(models).seen) == 1


@pytest.mark.parametrize("error", [InvalidWeightsError("cut short"), ModelAuthenticationError("no such key")])
def test_what_would_fail_every_question_ends_the_run_at_the_first(
    error: Exception, models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models["fake:solver"] = failing(error)
    questions = write_questions(tmp_path, *({"question": f"How many, {number}?"} for number in range(50)))
    output = tmp_path / "out.jsonl"
    command = ["ask", *MODELS, "--concurrency", "1", "--input", str(questions), "--output", str(output)]
    assert main(command) == 1
    assert capsys.readouterr().err == f"0 finished, 50 left\ndivconq: {type(error).__name__}: {error}\n"
    assert output.read_text() == ""
    assert len(solver_of(models).seen) < 5


def test_an_interrupted_run_keeps_what_is_done_and_goes_on_from_there(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = iter(range(100))

    def reply(_: list[BaseMessage]) -> str:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return REPLY

    models["fake:solver"] = scripted(reply)
    questions = write_questions(tmp_path, *({"id": number, "question": "How many?"} for number in range(6)))
    command = ["ask", *MODELS, "--concurrency", "1", "--input", str(questions), "--output", str(tmp_path / "out.jsonl")]
    assert main(command) == 130
    done = len(read_records(tmp_path / "out.jsonl"))
    assert done >= 2
    assert capsys.readouterr().err.startswith(f"{done} finished, {6 - done} left\n")
    assert main(command) == 0
    assert sorted(record["id"] for record in read_records(tmp_path / "out.jsonl")) == list(range(6))
    assert f"{6 - done} finished, {done} before\n" in capsys.readouterr().err


@pytest.mark.parametrize("installed", [True, False])
def test_a_bar_shows_how_far_a_run_is_on_a_terminal_where_tqdm_is_installed(
    installed: bool, models: dict[str, BaseChatModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models["fake:solver"] = failing(RuntimeError("down"))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    questions = write_questions(tmp_path, {"question": "How?"}, {"question": "Why?"})
    assert main(["ask", *MODELS, "--input", str(questions), "--output", str(tmp_path / "out.jsonl")]) == 1
    assert ("2/2" in terminal.getvalue()) is installed
    assert "line 1: RuntimeError: down\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("0 finished, 2 failed\n")


def test_the_output_of_another_input_is_left_as_it_is(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models["fake:solver"] = scripted(REPLY)
    output = tmp_path / "out.jsonl"
    command = ["ask", *MODELS, "--output", str(output), "--input"]
    assert main([*command, str(write_questions(tmp_path, {"id": 2, "question": "Good?"}))]) == 0
    output.write_bytes(before := output.read_bytes() + b'{"id": 3')
    assert main([*command, str(write_questions(tmp_path, {"id": 2, "question": "Another?"}))]) == 2
    assert "the answer to another question under id 2" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_on_stdout_a_failed_question_has_a_record_too(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models["fake:solver"] = failing(RuntimeError("down"))
    assert main(["ask", *MODELS, "--input", str(write_questions(tmp_path, {"id": 1, "question": "Bad?"}))]) == 1
    failed = json.loads(capsys.readouterr().out)
    assert failed == {"id": 1, "question": {"text": "Bad?", "context": None}, "error": "RuntimeError: down"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-subquestions", "2"], "made with max_subquestions 4, and now it is 2"),
        (["--gate", "never"], "made with gate 0.75, and now it is 'never'"),
        (["--mode", "parallel"], "made with mode 'fused', and now it is 'parallel'"),
        (["--price", "1,2"], "made with price None, and now it is [1.0, 2.0]"),
    ],
)
def test_records_of_other_options_are_not_mixed(
    options: list[str],
    said: str,
    models: dict[str, BaseChatModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.jsonl"
    questions = write_questions(tmp_path, {"question": "How?"})
    command = ["ask", *MODELS, "--input", str(questions), "--output", str(output)]
    assert main(command) == 0
    before = output.read_bytes()
    assert main([*command, *options]) == 2
    assert said in capsys.readouterr().err
    assert output.read_bytes() == before
    assert main([*command, "--concurrency", "1"]) == 0


def test_the_input_is_never_taken_for_the_output(
    models: dict[str, BaseChatModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path, {"id": 1, "question": "How many?"})
    before = questions.read_bytes()
    assert main(["ask", *MODELS, "--input", str(questions), "--output", str(questions)]) == 2
    assert "are the same file" in capsys.readouterr().err
    assert questions.read_bytes() == before
