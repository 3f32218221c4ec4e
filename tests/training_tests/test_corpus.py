"""Tests of passages and multi-hop questions, on rows of ours and on the datasets where they are at hand."""

import json
from pathlib import Path

import pytest

from tests.training_tests.examples import needs_data
from tests.training_tests.hops import BRIDGE, DECOYS, KEEPER, LAMP, MAYOR, PAINTER, ROWS, library
from training.config import DATA
from training.measure.corpus import QUESTIONS, corpus_fingerprint, passages, questions


def test_each_paragraph_is_one_document_with_an_id_of_its_text(tmp_path: Path) -> None:
    documents = passages(library(tmp_path))
    assert [document.page_content for document in documents] == [BRIDGE, MAYOR, PAINTER, LAMP, KEEPER, *DECOYS]
    assert len({document.id for document in documents}) == len(documents)
    assert passages(tmp_path) == documents
    assert corpus_fingerprint(documents) != corpus_fingerprint(documents[1:])


def test_each_hop_names_its_passage_subquestion_and_answer(tmp_path: Path) -> None:
    texts = {document.id: document.page_content for document in passages(library(tmp_path))}
    two, three, _ = questions(tmp_path)
    assert two.plan == ("Which town is the Long Bridge in?", "Who was the first mayor of #1?")
    assert two.example.answers == ("Ada Holm",)
    assert [hop.filled for hop in three.hops][1:] == [
        "Who was the first mayor of Lund?",
        "Whose daughter was Ada Holm?",
    ]
    assert [hop.answer for hop in three.hops] == ["Lund", "Ada Holm", "Ib Holm"]
    assert [texts[hop.passage] for hop in three.hops] == [BRIDGE, MAYOR, PAINTER]


def test_a_question_that_is_asked_twice_is_there_once(tmp_path: Path) -> None:
    assert [one.example.question for one in questions(library(tmp_path))] == [row["question"] for row in ROWS]


def test_hops_that_make_no_plan_are_refused_by_name(tmp_path: Path) -> None:
    row = json.loads(json.dumps(ROWS[0]))
    row["decomposition"][1]["question"] = row["decomposition"][0]["question"]
    (library(tmp_path) / QUESTIONS).write_text(json.dumps([row]))
    with pytest.raises(ValueError, match="musique/dev-0 has 2 gold passages, 2 answers and a plan of 1 subquestions"):
        questions(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"musique_dev_500\.json, which is not there"):
        passages(tmp_path)


@needs_data
def test_the_datasets_give_so_many_passages_and_every_gold_one_is_among_them() -> None:
    documents, asked = passages(DATA), questions(DATA)
    names = {document.id for document in documents}
    assert len(names) == len(documents) == 3241
    assert len(asked) == 499, "of 500 rows two ask the same"
    assert {hop.passage for question in asked for hop in question.hops} <= names
    assert sorted({len(question.hops) for question in asked}) == [2, 3, 4]
