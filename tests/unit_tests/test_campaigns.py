"""Tests of the campaigns: cases that die or hang are outcomes, and failures reach the exit code and the report."""

import json
import os
import signal
import time

import pytest

from tests.campaigns import __main__ as runner
from tests.campaigns.children import each_in_child
from tests.campaigns.report import Report


def _work(case: str) -> str:
    if case == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "hangs":
        time.sleep(60)
    if case == "leaves":
        os._exit(3)
    if case == "raises":
        raise TypeError("not mine")
    return f"{case}: well"


def test_a_case_that_dies_or_hangs_is_an_outcome_and_the_rest_go_on() -> None:
    cases = ["first", "dies", "raises", "leaves", "hangs", "last"]
    assert list(each_in_child(_work, cases, seconds=0.5)) == [
        ("first", "first: well"),
        ("dies", "died of SIGKILL"),
        ("raises", "raised TypeError: not mine"),
        ("leaves", "ended with 3"),
        ("hangs", "hung"),
        ("last", "last: well"),
    ]


def test_every_campaign_can_be_named() -> None:
    assert {"children", "report", "__main__"}.isdisjoint(runner.names())


@pytest.mark.parametrize(("failures", "cases", "code"), [(0, 2, 0), (1, 2, 1), (0, 1, 1)])
def test_the_exit_code_tells_of_failures_and_of_cases_that_did_not_run(
    failures: int, cases: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()
    for case in range(cases):
        if case < failures:
            report.failed(case, "a file", "died of SIGABRT")
        else:
            report.passed("refused")
    monkeypatch.setattr(runner, "names", lambda: ["made_up"])
    monkeypatch.setattr(runner, "load", lambda _: lambda _count, _seed: report)
    monkeypatch.setattr("sys.argv", ["campaigns", "made_up", "--count", "2"])
    assert runner.main() == code
    shown = json.loads(capsys.readouterr().out)
    assert (shown["cases"], shown["failed"], shown["seed"]) == (cases, failures, 1)


def test_the_committed_campaigns_failed_nowhere() -> None:
    for path in (runner.FOLDER / "results").glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert (result["failed"], result["failures"]) == (0, []), path.name
        assert result["cases"] >= result["count"] > 0, path.name
