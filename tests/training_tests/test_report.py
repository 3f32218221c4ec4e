"""The report is what the committed records give, figure by figure."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training_tests.results import PRICES, answer, divided, settings, write
from training.measure.report.plots import plots, read_figures
from training.measure.report.read import load_folders
from training.measure.report.report import report


def write_answers(results: Path) -> Path:
    """Ten questions: step by step is right on 0 to 4; the arm that divides on 0 to 7; the teacher on 0 to 8, less 1."""
    return write(
        results,
        "sums",
        {
            "step-by-step": (settings(), [answer(n, n < 5) for n in range(10)]),
            "shipped": (settings("shipped", "fused"), [divided(n, n < 8, n / 20) for n in range(10)]),
            "teacher": (
                settings("recorded", "fused"),
                [answer(n, n < 9 and n != 1, subquestions=3) for n in range(10)],
            ),
        },
    )


def write_retrieval(results: Path) -> Path:
    def searched(number: int, found: list[int | None], **changes: Any) -> dict[str, Any]:
        return {"id": f"musique/{number}", "hops": len(found), "found": found} | changes

    reference = {"decomposer": {"name": "reference"}, "mode": "sequential", "source": "musique", "prices": {}}
    shipped = {"decomposer": {"name": "shipped", "kind": "shipped"}, "mode": "sequential", "source": "musique"}
    read = {
        "subquestions": 2,
        "read": 1,
        "read_right": 1,
        "solve": {"calls": 1, "input_tokens": 300, "output_tokens": 10},
    }
    return write(
        results,
        "retrieval",
        {
            "whole": (
                {"mode": "whole", "source": "musique"},
                [searched(n, [1, None]) for n in range(3)] + [searched(3, [1, 7])],
            ),
            "reference-sequential": (
                reference
                | {"solver": {"name": "small", "model": "openai:small"}, "prices": {"solver": PRICES["solver"]}},
                [searched(n, [1, 2], **read) for n in range(4)],
            ),
            "shipped-sequential": (
                shipped | {"solver": {"name": "small", "model": "openai:small"}, "prices": PRICES},
                [searched(n, [1, 2], **read) for n in range(3)] + [searched(3, [1, 10], **read | {"read_right": 0})],
            ),
            "answer-whole": (settings(source="musique", n=4), [answer(n, n < 1) for n in range(4)]),
            "answer-shipped-sequential": (settings(source="musique", n=4), [answer(n, n < 3) for n in range(4)]),
        },
        kind="retrieval",
        n={"musique": 4},
        budgets=[6, 9],
        retriever="bm25",
        corpus={"documents": 1234, "fingerprint": "0"},
    )


def row(text: str, arm: str, table: str) -> list[str]:
    """The cells of an arm's row in the first table below a line."""
    lines = text.split(f"{table}\n", 1)[1].splitlines()
    return [
        cell.strip() for cell in next(line for line in lines if line.startswith(f"| {arm} |")).strip("|").split("|")
    ]


def points(cell: str) -> str:
    return cell.partition(" ")[0]


def reported(results: Path) -> str:
    assert report(results)
    return (results / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def text(tmp_path: Path) -> str:
    write_answers(tmp_path)
    write_retrieval(tmp_path)
    return reported(tmp_path)


def test_a_row_of_scores_holds_the_shares_and_the_difference_to_step_by_step(text: str) -> None:
    cells = row(text, "shipped", "Scores, in percent:")
    assert cells[1:5] == ["shipped", "small", "fused", "10"]
    assert [points(cell) for cell in cells[5:8]] == ["80.0", "100.0", "+30.0"]
    assert row(text, "step-by-step", "Scores, in percent:")[7] == "\u2013"


def test_costs_are_per_thousand_questions_by_stage(text: str) -> None:
    sums = text.split("## sums")[1]
    # 1,000 x (100 tokens in at 0.1 + 100 out at 0.2) / 10^6, and (100 at 1 + 50 at 2).
    assert row(sums, "shipped", "Costs:")[1:] == ["100 / 100", "100 / 50", "0.030", "0.200", "0.230", "0.200", "2.50"]
    assert row(sums, "step-by-step", "Costs:")[1:] == ["0 / 0", "100 / 50", "0.000", "0.200", "0.200", "0.200", "2.00"]
    # What recorded plans cost to make nobody knows.
    unknown = "\u2013"
    assert row(sums, "teacher", "Costs:")[1:] == [unknown, "100 / 50", unknown, "0.200", unknown, unknown, "2.00"]


def test_an_arm_stands_beside_the_one_it_differs_from_on_the_questions_of_both(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sums",
        {
            "shipped": (settings("shipped", "fused"), [divided(n, n < 8, 0.1) for n in range(10)]),
            "capped": (settings("capped", "fused", versus="shipped"), [divided(n, n < 3, 0.1) for n in range(4)]),
            "alone": (settings("alone", "fused", versus="not measured"), [divided(0, True, 0.1)]),
        },
    )
    text = reported(tmp_path)
    cells = row(text, "capped", "What one change makes, in percent:")
    assert [*cells[1:3], *(cell.split()[0] for cell in cells[3:])] == ["shipped", "4", "75.0", "100.0", "-25.0"]
    table = text.partition("What one change makes")[2].partition("Retention")[0].partition("The gate")[0]
    assert "| alone |" not in table


def test_retention_is_a_share_of_the_teachers_score_on_the_same_questions(text: str) -> None:
    cells = row(text, "shipped", "Retention, in percent:")
    assert cells[1:4] == ["teacher", "small", "10"]
    assert (points(cells[4]), points(cells[5])) == ("100.0", "+0.0")


def test_the_gate_is_told_from_both_arms_up_to_the_gate_that_was_measured(text: str) -> None:
    lines = [line for line in text.split("The gate:\n")[1].splitlines() if line.startswith("| shipped |")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cells[1] for cells in rows] == ["0.00", "0.10", "0.25", "0.50"]
    # From 0.25 on, which questions 5 to 9 reach, step by step answers, wrong each time.
    assert (rows[2][3], points(rows[2][4]), rows[2][6]) == ("50.0", "50.0", "0.0")
    assert (rows[3][3], points(rows[3][4]), points(rows[3][5]), rows[3][6]) == ("100.0", "80.0", "+30.0", "20.0")


def test_retrieval_comes_first_with_a_table_for_each_budget(text: str) -> None:
    assert text.index("## retrieval") < text.index("## sums")
    assert "1,234 passages, searched by bm25" in text
    six, nine = (f"Found among {budget} passages, in percent:" for budget in (6, 9))
    assert [points(cell) for cell in row(text, "whole", six)[1:7]] == ["4", "0.0", "\u2013", "\u2013", "50.0", "\u2013"]
    assert [points(cell) for cell in row(text, "whole", nine)[2:7]] == ["25.0", "\u2013", "\u2013", "62.5", "\u2013"]
    # Three of four, against none; and against four of four of the reference filled alike; recall 7/8 against 4/8.
    cells = [points(cell) for cell in row(text, "shipped-sequential", six)]
    assert cells[1:7] == ["4", "75.0", "+75.0", "75.0", "87.5", "+37.5"]


def test_what_is_found_is_counted_by_the_length_of_the_chain(tmp_path: Path) -> None:
    ranks: list[list[int | None]] = [[1, 2], [1, None], [1, 2, 8]]
    records = [{"id": f"musique/{n}", "hops": len(found), "found": found} for n, found in enumerate(ranks)]
    arms = {"whole": ({"mode": "whole", "source": "musique"}, records)}
    corpus = {"documents": 1234, "fingerprint": "0"}
    write(tmp_path, "s", arms, kind="retrieval", n={"musique": 3}, budgets=[6, 9], retriever="bm25", corpus=corpus)
    text = reported(tmp_path)
    assert "| 2 hops | 3 hops |" in text
    assert row(text, "whole", "Found among 6 passages, in percent:")[7:] == ["1 of 2", "0 of 1"]
    assert row(text, "whole", "Found among 9 passages, in percent:")[7:] == ["1 of 2", "1 of 1"]


def test_the_costs_of_searching_say_how_many_readings_were_right(text: str) -> None:
    cells = row(text, "shipped-sequential", "Costs of searching:")
    assert cells[1:6] == ["2.00", "1.00", "75.0", "0 / 0", "300 / 10"]
    assert cells[6:9] == ["0.000", "0.320", "0.320"]


def test_answers_over_passages_are_compared_with_those_over_the_whole_questions(text: str) -> None:
    cells = row(text, "answer-shipped-sequential", "Answers read from what was found, in percent:")
    assert [points(cell) for cell in cells[5:8]] == ["75.0", "100.0", "+50.0"]


def test_drop_has_a_column_of_f1(tmp_path: Path) -> None:
    records = [answer(n, n < 2, source="drop", f1=1.0 if n < 2 else 0.5) for n in range(4)]
    write(tmp_path, "passages", {"direct": (settings(mode="direct", source="drop", n=4), records)})
    text = reported(tmp_path)
    assert "| strict | F1 | lenient |" in text
    assert [points(cell) for cell in row(text, "direct", "Scores, in percent:")[5:8]] == ["50.0", "75.0", "100.0"]


def test_an_arm_without_all_its_questions_is_called_unfinished(tmp_path: Path) -> None:
    arms = {"step-by-step": (settings(), [answer(n, True) for n in range(6)]), "direct": (settings(mode="direct"), [])}
    write(tmp_path, "sums", arms)
    text = reported(tmp_path)
    assert row(text, "step-by-step", "Scores, in percent:")[4] == "unfinished: 6 of 10"
    assert row(text, "direct", "Scores, in percent:")[4:8] == ["unfinished: 0 of 10", "\u2013", "\u2013", "\u2013"]
    assert report(tmp_path, check=True)


def test_failures_are_named_and_counted(tmp_path: Path) -> None:
    records = [answer(0, True), answer(1, False, why="no answer"), answer(2, False, why="timeout", no_plan="no reply")]
    write(tmp_path, "sums", {"direct": (settings(mode="direct", n=3), records)})
    text = reported(tmp_path)
    assert row(text, "direct", "Scores, in percent:")[-1] == "no answer: 1, no plan: no reply: 1, timeout: 1"


def test_without_any_results_the_report_says_so(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert not report(results, check=True)
    assert report(results)
    assert "Nothing has been measured yet." in (results / "report.md").read_text(encoding="utf-8")
    assert report(results, check=True)
    assert [path.name for path in results.iterdir()] == ["report.md"]


def test_what_served_to_choose_something_by_is_not_reported(tmp_path: Path) -> None:
    write(tmp_path, "tuning-prompts", {"direct": (settings(mode="direct"), [answer(0, True)])})
    assert load_folders(tmp_path) == []


def test_the_check_passes_on_what_was_written_and_whatever_order_the_records_came_in(tmp_path: Path) -> None:
    folder = write_answers(tmp_path)
    report(tmp_path)
    assert report(tmp_path, check=True)
    path = folder / "shipped.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))), encoding="utf-8")
    assert report(tmp_path, check=True)


def test_the_check_fails_where_one_record_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_answers(tmp_path)
    report(tmp_path)
    path = folder / "step-by-step.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[9] = json.dumps(answer(9, True)) + "\n"
    path.write_text("".join(lines), encoding="utf-8")
    before = sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
    assert not report(tmp_path, check=True)
    assert sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()) == before
    printed = capsys.readouterr().err
    assert "report.md differs" in printed
    assert "sums-cost.png was drawn from other figures" in printed
    assert "python -m training report" in printed
    assert report(tmp_path)
    assert report(tmp_path, check=True)


def test_the_check_fails_where_a_plot_is_missing_or_too_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path)
    report(tmp_path)
    plot = tmp_path / "report" / "sums-gate.png"
    plot.rename(tmp_path / "report" / "other.png")
    assert not report(tmp_path, check=True)
    printed = capsys.readouterr().err
    assert f"There is no {plot}" in printed
    assert "other.png is no plot of this report" in printed
    report(tmp_path)
    drawn = sorted(path.stem for path in (tmp_path / "report").iterdir())
    assert drawn == ["sums-cost", "sums-gate", "sums-subquestions"]


def test_a_plot_holds_the_figures_it_shows(tmp_path: Path) -> None:
    write_answers(tmp_path)
    report(tmp_path)
    shown = {path.stem: json.loads(read_figures(path) or "") for path in (tmp_path / "report").glob("*.png")}
    costs = {point["arm"]: (point["dollars"], point["value"]) for point in shown["sums-cost"]["points"]}
    assert costs == {"step-by-step": (0.2, 0.5), "shipped": (0.23, 0.8)}  # the teacher's is unknown
    assert shown["sums-cost"]["front"] == ["step-by-step", "shipped"]
    lines = {
        line["arm"]: [(one["subquestions"], one["value"]) for one in line["points"]]
        for line in shown["sums-subquestions"]["lines"]
    }
    assert lines == {"shipped": [(2, 0.8)], "teacher": [(3, 0.8)]}
    [curve] = shown["sums-gate"]["lines"]
    assert curve["all"][0] == [0.0, 0.5]  # nothing is divided: step by step alone
    assert curve["all"][-1] == [0.9, 0.2]  # all below 0.45 are, the last question is not
    assert curve["divided"][0] == [0.1, 0.0]
    assert read_figures(tmp_path / "report.md") is None


def test_a_plot_is_drawn_only_where_there_are_data_for_it(tmp_path: Path) -> None:
    free = settings(prices={"solver": None, "decomposer": None})
    write(tmp_path, "sums", {"step-by-step": (free, [answer(n, True) for n in range(10)])})
    [folder] = load_folders(tmp_path)
    assert [*plots(folder)] == []


def test_tokens_that_were_not_reported_are_not_passed_over_and_have_no_price(tmp_path: Path) -> None:
    silent = {"calls": 1, "unmetered_calls": 1, "seconds": 2.0}
    write(tmp_path, "sums", {"step-by-step": (settings(), [answer(n, True, solve=silent) for n in range(10)])})
    text = reported(tmp_path)
    assert row(text, "step-by-step", "Costs:")[2:6] == ["\u2265 0 / 0", "0.000", "\u2013", "\u2013"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "holds no settings of a measurement"),
        ('{"name": "sums"}', r"holds no settings of a measurement \(KeyError: 'kind'\)"),
        ('{"name": "sums", "kind": "guesses", "n": {}, "arms": {}}', "is of the kind 'guesses'"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        report(tmp_path)


def test_a_half_written_last_record_is_passed_over_and_left_as_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path, "sums", {"direct": (settings(mode="direct"), [answer(0, True)])})
    with (folder / "direct.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "gsm8k/')
    before = (folder / "direct.jsonl").read_bytes()
    report(tmp_path)
    assert (folder / "direct.jsonl").read_bytes() == before
