"""Files of questions on the command line: a record each, durable, resumed, never mixed."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelAuthenticationError
from langchain_core.messages import BaseMessage

from langchain_divconq.errors import InvalidWeightsError
from langchain_divconq.types import Decomposition, Solution
from tests.unit_tests.command_line import MODELS, REPLY, Command, Models, Ran, read_records, solver_of, write_questions
from tests.unit_tests.fakes import QUESTION, failing, scripted

Batch = Callable[..., Ran]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def batch(ask: Command, tmp_path: Path, output: Path) -> Batch:
    """`divconq ask` over a file of questions, into `output`, one at a time unless told otherwise."""

    def run(questions: Sequence[dict[str, Any]], *options: str) -> Ran:
        files = ["--input", write_questions(tmp_path, *questions), "--output", output]
        return ask(*files, "--concurrency", "1", *options)

    return run


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "question": f"How many, {number}?"} for number in range(count)]


def test_a_file_of_questions_becomes_a_file_of_records(batch: Batch, output: Path) -> None:
    first = {"id": "a", "question": QUESTION, "answer": "ignored"}
    code, out, err = batch([first, {"question": QUESTION, "context": "Ja, blaue."}, {"id": 7, "question": QUESTION}])
    assert (code, out) == (0, "")
    assert err.startswith("3 finished\ndecomposer: ")
    records = {json.dumps(record.get("id", record.get("line"))): record for record in read_records(output)}
    assert set(records) == {'"a"', "2", "7"}
    assert records["2"]["line"] == 2
    solution = Solution.model_validate(records["2"]["solution"])
    assert (solution.answer, solution.decomposition.question.context) == ("29", "Ja, blaue.")


def test_records_go_to_stdout_where_no_file_is_named(
    models: Models, divconq: Command, type_in: Callable[[str], None]
) -> None:
    type_in(
        f'{{"question": "{QUESTION}"}}\n\n'
        '{"question": "Why are so many pens left in 3 boxes of 12 when 7 are given away?"}\n'
    )
    code, out, _ = divconq("decompose", "--decomposer", "fake:decomposer", "--input", "-")
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, {record["line"] for record in records}) == (0, {1, 3})
    assert all(Decomposition.model_validate(record["decomposition"]).subquestions for record in records)


def test_a_context_on_the_command_line_is_for_the_lines_that_bring_none(
    models: Models, divconq: Command, tmp_path: Path
) -> None:
    questions = write_questions(tmp_path, {"question": "How?"}, {"question": "Why?", "context": "Mine."})
    shown = divconq("decompose", *MODELS[2:], "--input", questions, "--context", "Shared.").out
    records = [json.loads(line) for line in shown.splitlines()]
    assert {r["line"]: r["decomposition"]["question"]["context"] for r in records} == {1: "Shared.", 2: "Mine."}


def test_the_calls_in_flight_are_limited(models: Models, batch: Batch) -> None:
    models["fake:solver"] = scripted(REPLY, delay=0.01)
    batch(numbered(8), "--concurrency", "2")
    assert solver_of(models).most_in_flight == 2


def test_a_failed_question_is_named_and_asked_again_by_the_next_run(models: Models, batch: Batch, output: Path) -> None:
    def reply(messages: list[BaseMessage]) -> str:
        if "Bad?" in messages[-1].text:
            raise RuntimeError("not this one")
        return REPLY

    models["fake:solver"] = scripted(reply)
    questions = [{"id": 1, "question": "Bad?"}, {"id": 2, "question": "Good?"}]
    code, _, err = batch(questions)
    assert (code, "id 1: RuntimeError: not this one\n" in err) == (1, True)
    assert [record["id"] for record in read_records(output)] == [2]

    models["fake:solver"] = scripted(REPLY)
    code, _, err = batch(questions)
    assert (code, "1 finished, 1 before\n" in err) == (0, True)
    assert [(record["id"], "solution" in record) for record in read_records(output)] == [(2, True), (1, True)]
    assert len(solver_of(models).seen) == 1


@pytest.mark.parametrize("error", [InvalidWeightsError("cut short"), ModelAuthenticationError("no such key")])
def test_what_would_fail_every_question_ends_the_run_at_the_first(
    error: Exception, models: Models, batch: Batch, output: Path
) -> None:
    models["fake:solver"] = failing(error)
    code, _, err = batch(numbered(50))
    assert (code, err) == (1, f"0 finished, 50 left\ndivconq: {type(error).__name__}: {error}\n")
    assert output.read_text() == ""
    assert len(solver_of(models).seen) < 5


def test_an_interrupted_run_keeps_what_is_done_and_goes_on_from_there(
    models: Models, batch: Batch, output: Path
) -> None:
    calls = iter(range(100))

    def reply(_: list[BaseMessage]) -> str:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return REPLY

    models["fake:solver"] = scripted(reply)
    code, _, err = batch(numbered(6))
    done = len(read_records(output))
    assert (code, done >= 2) == (130, True)
    assert err.startswith(f"{done} finished, {6 - done} left\n")
    code, _, err = batch(numbered(6))
    assert (code, f"{6 - done} finished, {done} before\n" in err) == (0, True)
    assert sorted(record["id"] for record in read_records(output)) == list(range(6))


@pytest.mark.parametrize("installed", [True, False])
def test_a_bar_shows_how_far_a_run_is_on_a_terminal_where_tqdm_is_installed(
    installed: bool, models: Models, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    models["fake:solver"] = failing(RuntimeError("down"))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert batch([{"question": "How?"}, {"question": "Why?"}]).code == 1
    assert ("2/2" in terminal.getvalue()) is installed
    assert "line 1: RuntimeError: down\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("0 finished, 2 failed\n")


def test_the_output_of_another_input_is_left_as_it_is(batch: Batch, output: Path) -> None:
    assert batch([{"id": 2, "question": "Good?"}]).code == 0
    output.write_bytes(before := output.read_bytes() + b'{"id": 3')
    code, _, err = batch([{"id": 2, "question": "Another?"}])
    assert (code, "the answer to another question under id 2" in err) == (2, True)
    assert output.read_bytes() == before


def test_on_stdout_a_failed_question_has_a_record_too(models: Models, ask: Command, tmp_path: Path) -> None:
    models["fake:solver"] = failing(RuntimeError("down"))
    code, out, _ = ask("--input", write_questions(tmp_path, {"id": 1, "question": "Bad?"}))
    failed = {"id": 1, "question": {"text": "Bad?", "context": None}, "error": "RuntimeError: down"}
    assert (code, json.loads(out)) == (1, failed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-subquestions", "2"], "made with max_subquestions 4, and now it is 2"),
        (["--num-beams", "2"], "made with num_beams None, and now it is 2"),
        (["--gate", "never"], "made with gate 0.75, and now it is 'never'"),
        (["--mode", "parallel"], "made with mode 'fused', and now it is 'parallel'"),
        (["--price", "1,2"], "made with price None, and now it is [1.0, 2.0]"),
    ],
)
def test_records_of_other_options_are_not_mixed(options: list[str], said: str, batch: Batch, output: Path) -> None:
    assert batch(numbered(1)).code == 0
    before = output.read_bytes()
    code, _, err = batch(numbered(1), *options)
    assert (code, said in err) == (2, True)
    assert output.read_bytes() == before
    assert batch(numbered(1), "--concurrency", "2").code == 0


def test_the_input_is_never_taken_for_the_output(ask: Command, tmp_path: Path) -> None:
    questions = write_questions(tmp_path, *numbered(1))
    before = questions.read_bytes()
    code, _, err = ask("--input", questions, "--output", questions)
    assert (code, "are the same file" in err) == (2, True)
    assert questions.read_bytes() == before
