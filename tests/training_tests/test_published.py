"""What is published of the shipped decomposer: documents and figures agree."""

import hashlib
import json
import re
from typing import Any

import pytest

from tests.repository import LIBRARY, ROOT
from training.arms.config import load_measurement
from training.config import DATA
from training.publish import render
from training.report.report import report as report_of_records
from training.sources import read_source
from training.verdicts import judge

RESULTS = ROOT / "training" / "results" / "smollm2-135m-decomposer"
ADAPTERS = LIBRARY / "adapters"


@pytest.fixture(scope="module")
def evaluation() -> Any:
    return json.loads((RESULTS / "metrics.json").read_text(encoding="utf-8"))


def test_the_table_of_metrics_is_made_of_the_figures(evaluation: Any) -> None:
    assert (RESULTS / "metrics.md").read_text(encoding="utf-8") == render(RESULTS.name, evaluation)


def test_the_adapter_that_ships_is_the_one_that_was_measured(evaluation: Any) -> None:
    [adapter] = ADAPTERS.glob("*.gguf")
    assert hashlib.sha256(adapter.read_bytes()).hexdigest() == evaluation["weights"]["adapter"]
    assert json.loads((ADAPTERS / "evaluation.json").read_text(encoding="utf-8")) == evaluation


@pytest.mark.parametrize(
    ("row", "metric"),
    [
        ("replies that parse, held to no grammar", "parse_rate"),
        ("plans with a repeat or a copy of the question", "repeats_or_copies"),
        ("plans that use a reference where one is needed", "uses_references_recall"),
        ("questions of one step left whole", "undivided_one_step"),
        ("agreement with the plan of the dataset", "agreement"),
    ],
)
def test_the_readme_says_what_was_measured(evaluation: Any, row: str, metric: str) -> None:
    found = evaluation["metrics"]["all"][metric]
    cells = [f"{arm['value']:.2f} [{arm['low']:.2f}, {arm['high']:.2f}]" for arm in (found["ours"], found["untuned"])]
    assert f"| {row} | {cells[0]} | {cells[1]} |" in (ROOT / "README.md").read_text(encoding="utf-8")


def reported(arm: str, begin: str, end: str) -> list[str]:
    """Return an arm's cells in the report's table between two texts."""
    report = (ROOT / "training" / "results" / "report.md").read_text(encoding="utf-8")
    table = report.partition(begin)[2].partition(end)[0]
    [cells] = [line.split(" | ") for line in table.splitlines() if line.startswith(f"| {arm} |")]
    return cells


@pytest.mark.parametrize(
    ("row", "arm"),
    [
        ("the whole question searched for", "whole"),
        ("hop by hop, the decomposer that ships, each hop's answer known", "deep-oracle"),
        ("… the answers not filled in", "deep-unfilled"),
        ("… the answers read by a model of 1.5 B", "deep-sequential"),
        ("the query that model writes for the question", "rewrite"),
        ("hop by hop, MuSiQue's own plans, each hop's answer known", "reference-oracle"),
        ("hop by hop, the same model untuned, each hop's answer known", "untuned-oracle"),
    ],
)
def test_the_readme_says_what_was_found(row: str, arm: str) -> None:
    cells = reported(arm, "Found among 9 passages", "Found among 12")
    assert f"| {row} | {cells[2]} |" in (ROOT / "README.md").read_text(encoding="utf-8")


def records(arm: str, folder: str = "retrieval") -> dict[str, Any]:
    """Return an arm's records of retrieval by question."""
    lines = (ROOT / "training" / "results" / folder / f"{arm}.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


def has_all(record: dict[str, Any]) -> bool:
    """Return whether all passages of a question are among the first nine."""
    return all(rank is not None and rank <= 9 for rank in record["found"])


def test_the_readme_says_what_vectors_find() -> None:
    arms = [records(arm, "retrieval-embedding").values() for arm in ("deep-oracle", "whole")]
    deep, whole = (f"{100 * sum(map(has_all, arm)) / len(arm):.1f}%" for arm in arms)
    assert f"each hop's answer known, it is {deep} in place of {whole}." in (ROOT / "README.md").read_text(
        encoding="utf-8"
    )


def test_the_readme_counts_what_was_found_and_answered() -> None:
    searched = records("deep-sequential")

    def found(arm: str) -> int:
        return sum(has_all(record) for name, record in records(arm).items() if name in searched)

    deep, whole = records("answer-deep-sequential"), records("answer-whole")
    assert deep.keys() == whole.keys()
    assert records("rewrite").keys() >= searched.keys()
    right = [sum(record["strict"] for record in arm.values()) for arm in (deep, whole)]
    gain = reported("answer-deep-sequential", "Answers read from what was found", "Costs of these")[7]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"for {found('deep-sequential')} of {len(searched)} questions of MuSiQue, where the whole question finds "
        f"{found('whole')} and the solver's own query {found('rewrite')}; answers read from them are right for "
        f"{right[0]:.0f} of {len(deep)} in place of {right[1]:.0f} ({gain} points)."
    ) in text
    share = reported("deep-sequential", "Found among 9 passages", "Found among 12")[4].replace(" ", "% ", 1)
    right_reads = reported("deep-sequential", "Costs of searching", "Answers read from")[3]
    assert f"That is {share} of what MuSiQue's own plans find" in text
    assert f"(the solver reads {right_reads}% of them so) it would be {found('deep-oracle')} of {len(searched)}" in text


@pytest.mark.parametrize(
    ("row", "arm"),
    [
        ("none, step by step", "step-by-step"),
        ("this decomposer", "shipped"),
        ("GSM8K's own", "teacher"),
        ("ChatGPT, recorded", "chatgpt"),
        ("the same model untuned", "untuned"),
    ],
)
def test_the_readme_says_how_many_answers_were_right(row: str, arm: str) -> None:
    cells = reported(arm, "## gsm8k\n", "Costs:")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| {row} | {cells[5]} | {cells[7]} |" in text
    assert f"GSM8K, test, {cells[4].removeprefix('unfinished: ').split()[0]} problems" in text


def test_the_readme_says_what_share_of_the_teachers_answers_is_kept() -> None:
    share = reported("shipped | teacher", "| share of the teacher's strict score |", "The gate:")[4].replace(
        " ", "% ", 1
    )
    assert f"GSM8K's own ({share})" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arm", "begin", "column", "said"),
    [
        ("shipped", "## drop\n", 8, "on DROP ({}, n = 120)"),
        ("shipped", "## bamboogle\n", 7, "answers ({} points of 12)"),
        ("s_e-t", "## gsm8k\n", 5, "is itself right for {}."),
        ("s_d-t", "## gsm8k\n", 5, "solver to {} of 100 right answers"),
    ],
)
def test_the_readmes_findings_are_those_of_the_report(arm: str, begin: str, column: int, said: str) -> None:
    cell = reported(arm, begin, "Costs:")[column]
    found = said.format(cell if column > 5 else f"{float(cell.split()[0]):.0f}")
    assert found in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_the_readme_says_what_a_mode_is_worth(mode: str) -> None:
    difference = reported(f"shipped-{mode} | shipped | 60", "## gsm8k\n", "Retention")[5].removesuffix(" |")
    words = re.findall(rf"`{mode}` (\S+ \[\S+ \S+\])", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert words == [difference]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the benchmark data is not at {DATA}")
@pytest.mark.parametrize("name", ["gsm8k", "drop", "bamboogle"])
def test_todays_scorers_judge_the_stored_answers_as_they_were_judged(name: str) -> None:
    [source] = load_measurement(ROOT / "training" / "configs" / "measure" / f"{name}.toml").questions
    asked = {example.id: example for example in read_source(source)}
    judged = 0
    for path in sorted((ROOT / "training" / "results" / name).glob("*.jsonl")):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            answer = record.get("answer", "")
            if record["why"] not in ("right", "wrong") or answer.startswith("(") or len(answer) > 100:
                continue  # no answer, or not all of it is stored
            judged += 1
            assert judge(asked[record["id"]], answer, answer).strict == record["strict"], (path.stem, record["id"])
    assert judged > 200


def test_every_command_of_the_report_names_a_config() -> None:
    text = (ROOT / "training" / "results" / "report.md").read_text(encoding="utf-8")
    configs = re.findall(r"^\$ python -m training \w+ (training/\S+)$", text, flags=re.MULTILINE)
    assert len(configs) >= 4
    assert [config for config in configs if not (ROOT / config).is_file()] == []


def test_the_report_is_what_the_records_give() -> None:
    assert report_of_records(ROOT / "training" / "results", check=True)
