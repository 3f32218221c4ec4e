"""The tables and the plot of the graded everyday questions."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.measure.grade import Grade
from training.measure.intervals import share
from training.measure.records import Used
from training.measure.report.everyday import load_grades, made_of, render, save_everyday
from training.measure.report.plots import read_figures
from training.measure.report.report import report


def graded(number: int, good: bool = True, **changes: Any) -> Grade:
    fields = {"kind": "chain", "gold": 2, "written": 2, "decision": True, "linked": True, "invented": False}
    return Grade.model_validate({"id": f"q-{number}", **fields, "met": 2 if good else 1, **changes})


def used(seconds: float, read: int = 100, written: int = 10) -> Used:
    return Used(calls=1, input_tokens=read, output_tokens=written, seconds=seconds)


def save(folder: Path, **arms: list[Grade]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, grades in arms.items():
        (folder / f"{name}.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in grades), encoding="utf-8")
    return folder


def cells(text: str, row: str) -> list[str]:
    """The cells of a row of the table of costs."""
    table = text.split("Quality against cost")[1].split("Good, by kind")[0]
    line = next(line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_library_comes_first_and_others_by_name(tmp_path: Path) -> None:
    names = ["untuned-small", "small-then-medium", "big", "medium", "small"]
    found = load_grades(save(tmp_path, **{name: [graded(1)] for name in names}))
    assert [*found] == ["small", "medium", "small-then-medium", "big", "untuned-small"]


def test_there_is_a_column_an_arm_and_a_row_a_kind() -> None:
    text = render({"mine": [graded(1), graded(2, gold=0, written=0, met=0, kind="whole")], "other": [graded(1, False)]})
    assert "|  | mine | other |" in text
    assert "| questions | 2 | 1 |" in text
    assert "| good plans, or rightly none | 100% [100%, 100%] | 0% [0%, 0%] |" in text
    assert "| left whole, of those that should be | 100% [100%, 100%] (1) |  |" in text
    assert "| chain | 100% [100%, 100%] | 0% [0%, 0%] |" in text
    assert "| whole | 100% [100%, 100%] |  |" in text


def test_cost_stands_beside_quality_for_each_model_that_was_asked() -> None:
    cascade = [
        graded(1, used={"small": used(1.0)}),
        graded(2, used={"small": used(1.0), "medium": used(4.0, 400, 40)}),
        graded(3, gold=0, written=0, met=0),  # left whole without a model
        graded(4, invented=True, used={"small": used(3.0)}),
    ]
    found = cells(render({"cascade": cascade}), "cascade")
    assert found[2:] == ["2.00", "2.25", "75 / 8 + 100 / 10", "small 3 + medium 1"]
    assert [cell.split()[0] for cell in found[:2]] == ["75%", "25%"]


def test_what_nobody_counted_has_no_cost() -> None:
    assert cells(render({"old": [graded(1)]}), "old")[2:] == ["\u2013"] * 4


def test_tokens_that_a_model_did_not_report_are_not_passed_over() -> None:
    unmetered = Used(calls=1, unmetered_calls=1, seconds=1.0)
    assert cells(render({"arm": [graded(1, used={"small": unmetered})]}), "arm")[4] == "\u2265 0 / 0"


def test_seconds_are_said_to_be_of_one_run_and_where_it_was(tmp_path: Path) -> None:
    save(tmp_path, small=[graded(1)])
    (tmp_path / "settings.json").write_text(json.dumps({"machine": "an abacus, 2 rods"}))
    save_everyday(tmp_path)
    assert "in one run of each arm, the last arm on an abacus, 2 rods" in (tmp_path / "README.md").read_text()


def sure(*counts: tuple[float, int, int]) -> list[Grade]:
    """Plans of some confidences: of each so many, and so many of them good."""
    grades = [(confidence, place < good) for confidence, count, good in counts for place in range(count)]
    return [graded(number, good, confidence=confidence) for number, (confidence, good) in enumerate(grades)]


def test_the_plot_holds_the_share_of_good_plans_by_confidence(tmp_path: Path) -> None:
    small = [*sure((0.82, 5, 4), (0.98, 5, 5), (0.5, 6, 3), (0.25, 4, 0)), graded(99, written=0, met=0)]
    save_everyday(save(tmp_path, small=small, medium=[graded(1)]))
    figures = json.loads(read_figures(tmp_path / "reliability.png") or "")
    [line] = figures["lines"]
    assert line["arm"] == "small"  # the medium has no confidence
    points = [(point["confidence"], point["value"], point["n"]) for point in line["points"]]
    assert points == [(0.5, 0.5, 6), (0.9, 0.9, 10)]  # four are too few for a point
    high = share(9, 10)
    assert (line["points"][1]["low"], line["points"][1]["high"]) == (round(high.low, 4), round(high.high, 4))
    assert "(reliability.png)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_where_no_arm_has_a_confidence_there_is_no_plot(tmp_path: Path) -> None:
    save(tmp_path, small=sure((0.9, 9, 9)))
    save_everyday(tmp_path)
    save(tmp_path, small=[graded(1)])
    save_everyday(tmp_path)
    assert made_of(tmp_path)[1] == []
    assert not (tmp_path / "reliability.png").exists()
    assert "reliability.png" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_report_shows_the_plot_and_its_check_covers_what_was_graded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "everyday", small=sure((0.9, 9, 8)))
    assert not report(tmp_path, check=True)
    assert f"There is no {folder / 'README.md'}" in capsys.readouterr().err
    assert report(tmp_path)
    assert report(tmp_path, check=True)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "[tables](everyday/README.md)" in text
    assert "](everyday/reliability.png)" in text
    save(folder, small=sure((0.9, 9, 7)))
    assert not report(tmp_path, check=True)
    said = capsys.readouterr().err
    assert f"{folder / 'README.md'} differs" in said
    assert f"{folder / 'reliability.png'} was drawn from other figures" in said


@pytest.mark.parametrize(("good", "of", "low", "high"), [(5, 5, 0.566, 1.0), (0, 5, 0.0, 0.434), (5, 10, 0.237, 0.763)])
def test_wilsons_interval_is_wide_where_few_are_all_alike(good: int, of: int, low: float, high: float) -> None:
    found = share(good, of)
    assert (found.value, found.n) == (good / of, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.001)
