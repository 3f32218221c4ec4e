"""The batch command killed with SIGKILL, again and again: nothing finished is lost, and nothing is asked twice.

`--count` kills. Each run of `divconq ask --input --output`, in a process of its own with models that cost nothing, is
killed at a random moment, most of them after it has added a row; the next goes on with the same file. When a file is
whole, a last run must find nothing left to do.
"""

import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from tests.campaigns.report import Report
from tests.unit_tests.fakes import PLAN, QUESTION, scripted

_QUESTIONS = 120
_SECONDS = 60
_AFTER_A_ROW = 0.7  # the share of kills that wait for one


def run(count: int, seed: int) -> Report:
    chance, report = random.Random(seed), Report(settings={"after_a_row": 0})
    while report.cases < count:
        with tempfile.TemporaryDirectory() as folder:
            _one_file(Path(folder), chance, report, count)
    return report


def _one_file(folder: Path, chance: random.Random, report: Report, count: int) -> None:
    """Kill the runs over one file until it is whole, or there have been enough kills."""
    questions, output, asked = (folder / name for name in ("questions.jsonl", "out.jsonl", "asked.txt"))
    lines = [json.dumps({"id": n, "question": f"{QUESTION} And {n} more?"}) for n in range(_QUESTIONS)]
    questions.write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked.touch()
    while report.cases < count:
        before, asked_before = _whole_lines(output), asked.read_text().split()
        waits_for_row = chance.random() < _AFTER_A_ROW
        code = _killed(folder, chance.random() * 0.4, len(before) if waits_for_row else None)
        after = _whole_lines(output)
        again = set(asked.read_text().split()[len(asked_before) :]) & {str(json.loads(line)["id"]) for line in before}
        if code == 0:
            break
        report.settings["after_a_row"] += len(after) > len(before)
        given = f"killed with {len(before)} rows before and {len(after)} after"
        if code != -signal.SIGKILL:
            report.failed(report.cases, given, f"the run ended with {code}")
        elif after[: len(before)] != before:
            report.failed(report.cases, given, "a finished row is lost or changed")
        elif again:
            report.failed(report.cases, given, f"asked again: {sorted(again)[:5]}")
        else:
            report.passed("nothing lost, nothing asked twice")
    if wrong := _unfinished(folder, output):
        report.failed(report.cases, f"{_QUESTIONS} questions", wrong)


def _unfinished(folder: Path, output: Path) -> str:
    """Let a run finish, and one more look at the file; return what is wrong in the end."""
    codes = [_wait(_start(folder)), _wait(_start(folder))]
    rows = [json.loads(line) for line in output.read_bytes().splitlines()]
    if codes != [0, 0]:
        return f"the last runs ended with {codes}"
    if sorted(row["id"] for row in rows) != list(range(_QUESTIONS)):
        return f"{len(rows)} rows for {_QUESTIONS} questions"
    return "" if all(row["solution"]["answer"] == "7" for row in rows) else "a row holds another answer"


def _killed(folder: Path, seconds: float, rows: int | None) -> int:
    """Start a run, kill it some time after it has added a row to `rows`, and return how it ended."""
    child, output, end = _start(folder), folder / "out.jsonl", time.monotonic() + _SECONDS
    while rows is not None and len(_whole_lines(output)) <= rows and time.monotonic() < end:
        if (code := _ended(child)) is not None:
            return code
        time.sleep(0.002)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (code := _ended(child)) is not None:
            return code
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return _wait(child)


def _start(folder: Path) -> int:
    """Start a run in a copy of this process, which has imported everything already."""
    from langchain_divconq.cli import commands, main

    if child := os.fork():
        return child
    code = 99
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, 2)
        commands.make_model = lambda option, *_: _model(option, folder / "asked.txt")
        paths = ["--input", str(folder / "questions.jsonl"), "--output", str(folder / "out.jsonl")]
        code = main(["ask", "--solver", "fake:solver", "--decomposer", "fake:decomposer", *paths])
    finally:
        os._exit(code)


def _model(option: str, asked: Path) -> BaseChatModel:
    def answer(messages: list[BaseMessage]) -> str:
        number = messages[-1].text.split(f"{QUESTION} And ")[1].split()[0]
        with asked.open("a") as log:
            log.write(f"{number}\n")
        return "So it is.\nAnswer: 7"

    plan: Any = PLAN if option == "--decomposer" else answer
    return scripted(plan, delay=0.005)


def _ended(child: int) -> int | None:
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
