"""The command line as a user runs it: a process of its own, the default weights, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.types import Decomposition, Solution
from tests.repository import ROOT
from tests.unit_tests.command_line import read_records

QUESTION = "Who is the spouse of the author of the novel Emma?"
COUNT = 8
# llama_cpp leaves files open at the end of a process.
DIVCONQ = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-m", "langchain_divconq.cli"]
# One short call for each question, so that a run is stopped amid them and not in the first.
QUICK = ["ask", "--gate", "never", "--max-tokens", "6", "--concurrency", "2"]


def divconq(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DIVCONQ, *arguments], cwd=ROOT, input=stdin, capture_output=True, encoding="utf-8", timeout=300
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file of questions and where their records go."""
    questions = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{number}", "question": f"What is {number} plus 5?"} for number in range(COUNT)]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return questions, tmp_path / "solutions.jsonl"


def stop_amid(files: tuple[Path, Path], how: int) -> tuple[int, str]:
    """Start a run over the questions and send it a signal once it has finished some; return exit code and stderr."""
    questions, output = files
    command = [*DIVCONQ, *QUICK, "--input", str(questions), "--output", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
    deadline = time.monotonic() + 120
    try:
        while not output.exists() or output.read_bytes().count(b"\n") < 2:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "no two questions were answered in two minutes"
            time.sleep(0.02)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors


def assert_each_once(output: Path) -> None:
    records = read_records(output)
    assert sorted(record["id"] for record in records) == sorted(f"q{number}" for number in range(COUNT))
    for record in records:
        assert Solution.model_validate(record["solution"]).decomposition.question.text.startswith("What is")


def test_ask_divides_and_answers_on_the_default_weights(engine_name: EngineName) -> None:
    run = divconq("ask", "--engine", engine_name, "--max-tokens", "64", "--json", QUESTION)
    assert run.returncode == 0, run.stderr
    solution = Solution.model_validate_json(run.stdout)
    assert solution.mode == ("fused" if solution.subquestions else "step_by_step")
    assert len(solution.subquestions) <= 3
    assert solution.usage.decompose.output_tokens > 0
    assert 0 < solution.usage.solve.output_tokens <= 64
    assert "plumbing, not the quality" in run.stderr
    assert "divconq: " not in run.stderr


def test_what_the_readme_asks_is_divided_as_it_shows(engine_name: EngineName) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = re.search(r'^\$ make ask Q="(.+)"\n((?:\d\. .+\n)+)', text, re.MULTILINE)
    assert asked is not None
    run = divconq("ask", "--engine", engine_name, asked[1])
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{asked[2]}\nMode: fused\n")
    assert "Answer: " in run.stdout


def test_the_text_of_a_streamed_answer_is_all_there_is_on_stdout() -> None:
    run = divconq("ask", "--gate", "never", "--max-tokens", "24", stdin=QUESTION)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Mode: step_by_step, since the gate is 'never'\n\n")
    assert run.stdout.splitlines()[-1].startswith("solver: ")
    assert len(run.stderr.splitlines()) <= 4, run.stderr


def test_decompose_reads_a_question_on_stdin() -> None:
    run = divconq("decompose", "--json", "--max-subquestions", "1", stdin=QUESTION)
    assert (run.returncode, run.stderr) == (0, "")
    assert len(Decomposition.model_validate_json(run.stdout).subquestions) <= 1


def test_a_gguf_of_ones_own_solves_and_divides(gguf_path: Path) -> None:
    named = f"gguf:{gguf_path}"
    run = divconq("ask", "--solver", named, "--decomposer", named, "--gate", "never", "--max-tokens", "8", QUESTION)
    assert (run.returncode, "plumbing" in run.stderr) == (0, False)


def test_a_missing_gguf_is_a_message_without_a_traceback() -> None:
    run = divconq("ask", "--gate", "never", "--solver", "gguf:missing.gguf", QUESTION)
    assert run.returncode == 1
    assert "missing.gguf" in run.stderr
    assert run.stderr.startswith("divconq: WeightsNotFoundError: ")
    assert "Traceback" not in run.stderr


def test_a_killed_run_goes_on_where_it_was(files: tuple[Path, Path]) -> None:
    questions, output = files
    code, _ = stop_amid(files, signal.SIGKILL)
    kept = output.read_bytes()
    done = kept.count(b"\n")
    assert (code, 2 <= done < COUNT) == (-signal.SIGKILL, True)
    with output.open("ab") as file:
        file.write(b'{"id": "q7", "solution": {"answer": "4')  # what a kill in the midst of a write leaves
    run = divconq(*QUICK, "--input", str(questions), "--output", str(output))
    assert run.returncode == 0, run.stderr
    assert f"{COUNT - done} finished, {done} before" in run.stderr
    assert output.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert_each_once(output)


def test_an_interrupted_run_ends_at_once_and_goes_on_where_it_was(files: tuple[Path, Path]) -> None:
    questions, output = files
    start = time.monotonic()
    code, errors = stop_amid(files, signal.SIGINT)
    assert code == 130
    assert "divconq: interrupted" in errors
    assert "Traceback" not in errors
    done = len(read_records(output))
    assert f"{done} finished, {COUNT - done} left" in errors
    assert time.monotonic() - start < 120
    assert divconq(*QUICK, "--input", str(questions), "--output", str(output)).returncode == 0
    assert_each_once(output)


def test_an_interrupted_question_ends_at_once() -> None:
    command = [*DIVCONQ, "ask", "--gate", "never", "--max-tokens", "4000", "Count to a million."]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipes)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors.endswith("divconq: interrupted\n")
