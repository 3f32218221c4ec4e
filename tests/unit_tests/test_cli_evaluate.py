"""`divconq evaluate`: what it reads, keeps, resumes and shows."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_divconq.cli.corpus import read_corpus
from langchain_divconq.types import Decomposition, Question
from tests.library import LIBRARY, QUESTIONS, divide, read
from tests.unit_tests.command_line import Command, Ran
from tests.unit_tests.fakes import scripted

ASKED: list[str] = []


@pytest.fixture(autouse=True)
def _scripted_models(monkeypatch: pytest.MonkeyPatch) -> None:
    ASKED.clear()

    def divided(question: Question) -> Decomposition:
        ASKED.append(question.text)
        known = [one.question for one in QUESTIONS]
        return divide(question) if question.text in known else Decomposition(question=question)

    def decomposer(_: Any) -> Runnable[Question, Decomposition]:
        return RunnableLambda(divided)

    monkeypatch.setattr("langchain_divconq.cli.evaluate.make_decomposer", decomposer)
    monkeypatch.setattr("langchain_divconq.cli.evaluate.make_model", lambda *_: scripted(read))


@pytest.fixture
def run(divconq: Command, tmp_path: Path) -> Callable[..., Ran]:
    def evaluate(*options: str, questions: Path = LIBRARY / "questions.json", corpus: Path = LIBRARY) -> Ran:
        files = ["--questions", questions, "--corpus", corpus, "--output", tmp_path / "records.jsonl"]
        return divconq("evaluate", *files, *options)

    return evaluate


def test_the_library_of_the_examples_is_evaluated(tmp_path: Path, run: Callable[..., Ran]) -> None:
    shown = run("--reader", "openai:some", "--k", "5", "--price", "0.25,2")
    assert shown.code == 0
    header, whole, turns, *_ = shown.out.splitlines()
    assert re.split(r" {2,}", header) == ["", "all found, 5", "recall at 5"]
    assert re.match(r"whole question +20\.0 \[", whole)
    assert re.match(r"hop by hop +100\.0 \[100\.0, 100\.0\]", turns)
    assert "5 questions, 4 with a plan. A question took" in shown.out
    assert "tokens in" in shown.out
    assert "$0.000" in shown.out
    assert re.search(r'Recommended: gate=always, fuse="(turns|rrf)": all passages found for 100\.0%', shown.out)
    assert "Take this with care: 5 questions" in shown.out
    assert str(tmp_path / "records.jsonl") in shown.err
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert sorted(record["line"] for record in records) == [1, 2, 3, 4, 5]


def test_a_run_that_was_cut_off_goes_on_and_shows_the_same(tmp_path: Path, run: Callable[..., Ran]) -> None:
    table = run().out.splitlines()[:4]
    records = tmp_path / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    ASKED.clear()
    assert run().out.splitlines()[:4] == table
    assert len(ASKED) == 3
    assert run().code == 0
    assert len(ASKED) == 3, "all is finished"


def test_records_made_under_other_settings_are_not_mixed(tmp_path: Path, run: Callable[..., Ran]) -> None:
    assert run().code == 0
    code, _, err = run("--k", "4")
    assert (code, "was made with k 9, and now it is 4" in err) == (2, True)


def test_a_folder_of_a_thousand_passages_is_searched(tmp_path: Path, run: Callable[..., Ran]) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rows = [{"title": f"Town {n}", "text": f"Its mayor is number {n * 7}.", "id": f"t{n}"} for n in range(990)]
    (corpus / "towns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for n in range(10):
        (corpus / f"note{n}.md").write_text(f"Note {n} is about lighthouse {n}.")
    assert len(read_corpus(corpus)) == 1000
    questions = tmp_path / "questions.jsonl"
    asked = [{"id": f"q{n}", "question": f"Who is mayor of town {n}?", "passages": [f"t{n}"]} for n in range(40)]
    asked += [{"question": "Which note is about lighthouse 3?", "passages": ["Note 3 is about lighthouse 3."]}]
    asked += [{"question": "What of Town 5?", "passages": ["Town 5"]}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    code, shown, _ = run(questions=questions, corpus=corpus)
    assert code == 0
    assert re.search(r"^whole question +100\.0 \[100\.0, 100\.0\]", shown, re.MULTILINE)
    assert "42 questions, 0 with a plan" in shown
    assert "Recommended: gate=never" in shown


def test_a_picture_is_drawn(tmp_path: Path, run: Callable[..., Ran]) -> None:
    pytest.importorskip("matplotlib", reason="it is an option of the user's")
    assert run("--plot", str(tmp_path / "found.svg")).code == 0
    assert "hop by hop, rrf" in (tmp_path / "found.svg").read_text()
    code, _, err = run("--plot", str(tmp_path / "found.nothing"))
    assert (code, "cannot be written" in err) == (2, True)


def test_a_question_that_fails_is_told_and_asked_again(
    tmp_path: Path, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("langchain_divconq.retrieval.bm25.BM25._get_relevant_documents", lambda *_, **__: 1 / 0)
        broken.setattr("langchain_divconq.retrieval.walk._WAIT", {"max": 0.0})
        code, _, err = run()
    assert (code, "line 1: ZeroDivisionError" in err) == (1, True)
    assert "5 questions" in run().out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Who?"}, 'needs "passages"'),
        ({"question": "Who?", "passages": []}, 'needs "passages"'),
        ({"question": "Who?", "passages": ["nowhere"]}, "the passage 'nowhere' of line 1 is not in the corpus"),
        ({"passages": ["halcyon"]}, "expected"),
        ("text", "must hold JSON objects"),
    ],
)
def test_a_question_that_cannot_be_evaluated_is_named_before_anything_is_searched(
    tmp_path: Path, row: Any, said: str, run: Callable[..., Ran]
) -> None:
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps([row]))
    code, _, err = run(questions=questions)
    assert (code, said in err, ASKED) == (2, True, [])


def test_a_corpus_that_holds_nothing_is_refused(tmp_path: Path, run: Callable[..., Ran]) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no passage" in run(corpus=tmp_path / "empty").err
    assert "no such folder" in run(corpus=tmp_path / "nowhere").err
    (tmp_path / "empty" / "rows.jsonl").write_text("no json\n")
    code, _, err = run(corpus=tmp_path / "empty")
    assert (code, "neither JSON lines nor a JSON list" in err) == (2, True)
