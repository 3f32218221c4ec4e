"""Tests of learning from the passages that plans find."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from tests.training_tests.examples import example
from tests.training_tests.exported import make_config
from training.config import Prefer
from training.example import save_examples
from training.measure.corpus import Hop, MultiHop
from training.measure.search import bm25
from training.prefer import (
    Drawn,
    Written,
    choose,
    choose_examples,
    corrected,
    preferred,
    recall,
    summarise,
    write,
)
from training.student.finetune import encode
from training.student.preferences import Preference, as_plan, learn, log_probabilities, write_plans
from training.student.targets import target

QUESTION = MultiHop(
    example("musique/train-1", "Where was the builder of Lenne Mill born?"),
    (
        Hop("Who built Lenne Mill?", "Who built Lenne Mill?", "Ida Voss", "mill"),
        Hop("Where was #1 born?", "Where was Ida Voss born?", "Altena", "voss"),
    ),
    ("mill", "voss"),
)
GOOD = ("Who built Lenne Mill?", "Where was #1 born?")
POOR = ("Who built Lenne Mill?", "What is the colour of #1?")


@pytest.fixture(scope="module")
def retriever() -> BaseRetriever:
    texts = {"mill": "Lenne Mill was built by Ida Voss.", "voss": "Ida Voss, born in Altena.", "other": "Red Gate."}
    noise = {f"noise-{at}": f"The builder was born in the year 18{at:02}." for at in range(30)}
    return bm25([Document(text, id=name) for name, text in {**texts, **noise}.items()], 3)


def drawn(*plans: tuple[str, ...], recall: tuple[float, ...], whole: float = 0.5) -> Drawn:
    return Drawn(id=QUESTION.id, plans=plans, recall=recall, whole=whole)


def learned(one: Drawn, **options: Any) -> list[tuple[Any, Any]]:
    return [(found.better, found.worse) for found in preferred([QUESTION], [one], Prefer(**options))]


def test_a_plan_finds_what_its_searches_find_with_gold_answers_filled_in(retriever: BaseRetriever) -> None:
    assert recall(QUESTION, GOOD, retriever, 3) == 1.0
    assert recall(QUESTION, (), retriever, 3) < 1.0


def test_the_plan_that_finds_more_is_better_and_of_equals_the_shorter() -> None:
    assert learned(drawn(POOR, GOOD, recall=(0.5, 1.0))) == [(GOOD, POOR)]
    longer = (*GOOD, "When was #1 born?")
    assert learned(drawn(longer, GOOD, recall=(1.0, 1.0))) == [(GOOD, longer)]


def test_nothing_is_learned_where_all_plans_are_alike() -> None:
    assert learned(drawn(GOOD, GOOD, recall=(0.5, 0.5))) == []


def test_a_question_that_finds_all_as_it_is_is_to_be_left_whole() -> None:
    found_whole = drawn(GOOD, POOR, recall=(1.0, 0.5), whole=1.0)
    assert learned(found_whole) == [((), GOOD)]
    assert learned(found_whole, whole=False) == [(GOOD, POOR)]


def test_a_reply_that_is_no_plan_or_that_no_grammar_writes_counts_as_none() -> None:
    assert as_plan("1. Who built Lenne Mill?\n2. Where was #1 born?", QUESTION.example, 4) == GOOD
    assert as_plan("I cannot tell.", QUESTION.example, 4) == ()
    assert as_plan("No decomposition needed.", QUESTION.example, 4) == ()


def test_the_summary_tells_the_best_of_all_beside_the_greedy_plan() -> None:
    found = summarise([drawn(POOR, GOOD, recall=(0.5, 1.0)), drawn(POOR, POOR, recall=(0.5, 0.5))])
    assert found["the greedy plan"].startswith("0.0%")
    assert found["the best of 2"].startswith("50.0%")
    assert found["the whole question"].endswith("of 2 find all evidence")


def test_no_plan_is_drawn_for_a_question_that_is_held_out_or_gives_an_evaluation_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = make_config(tmp_path, prefer={})
    config.folder.mkdir(parents=True)
    held_out, leaking = (
        replace(QUESTION, example=example(f"musique/train-{number}", f"Who built the mill of Voss {number}?"))
        for number in (2, 3)
    )
    save_examples([held_out.example], config.folder / "3-validation.jsonl")
    monkeypatch.setattr("training.prefer.training_questions", lambda _: [QUESTION, held_out, leaking])
    monkeypatch.setattr("training.prefer.never_taught", lambda _: [example("musique/dev-1", leaking.example.question)])
    assert choose(config, Prefer()) == [QUESTION]


@pytest.fixture
def student(tmp_path: Path) -> tuple[Any, Any]:
    from training.student.finetune import add_lora
    from training.student.model import load_student

    model, tokenizer = load_student("tiny", tmp_path, "float32")
    return add_lora(model, make_config(tmp_path, finetune={"student": "tiny", "rank": 4}).finetune), tokenizer


def test_drawing_gives_each_question_the_greedy_plan_and_as_many_as_were_asked_for(
    student: tuple[Any, Any], tmp_path: Path
) -> None:
    config = make_config(tmp_path, finetune={"student": "tiny", "rank": 4}, prefer={})
    plans = write_plans([QUESTION.example, QUESTION.example], 3, *student, config)
    assert [len(drawn) for drawn in plans] == [4, 4]
    assert plans[0][0] == plans[1][0]  # the greedy plans of one question


def test_a_reply_that_was_cut_off_is_no_plan(tmp_path: Path) -> None:
    import torch

    from training.student.model import completion_ids, load_student

    config = make_config(tmp_path, finetune={"student": "tiny"}, prefer={})
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    reply = torch.tensor([completion_ids("1. Who built Lenne Mill?\n2.", tokenizer)])
    ended, cut = reply, torch.cat([reply[:, :-1], reply[:, :1]], dim=1)

    class Student:
        eval = train = staticmethod(lambda: None)

        def generate(self, input_ids: Any, do_sample: bool, **_: Any) -> Any:
            replies = torch.cat([ended, cut]) if do_sample else ended
            return torch.cat([input_ids.expand(len(replies), -1), replies], dim=1)

    assert write_plans([QUESTION.example], 2, Student(), tokenizer, config) == [(POOR[:1], POOR[:1], ())]


TAUGHT = QUESTION.example.model_copy(update={"subquestions": GOOD})
"""The question as a training example of a run, with the plan that is known."""


def test_the_known_plan_is_better_than_a_students_own_that_is_not_good() -> None:
    def taught_by(plan: tuple[str, ...], *, good: bool) -> list[Preference]:
        return list(corrected([TAUGHT], [Written(id=TAUGHT.id, plan=plan, good=good)]))

    assert taught_by(POOR, good=False) == [Preference(TAUGHT, GOOD, POOR)]
    assert taught_by((), good=False) == [Preference(TAUGHT, GOOD, ())]
    assert taught_by((*GOOD, "When was #1 born?"), good=True) == []
    assert taught_by(GOOD, good=False) == []


def test_a_plan_that_the_student_writes_is_graded_beside_the_known_one_and_not_written_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = make_config(tmp_path, finetune={"student": "tiny"}, prefer={})
    whole = TAUGHT.model_copy(update={"id": "musique/train-2", "subquestions": ()})
    plans = {TAUGHT.id: [GOOD], whole.id: [POOR]}
    monkeypatch.setattr("training.prefer.write_plans", lambda group, *_: [plans[one.id] for one in group])
    monkeypatch.setattr("training.prefer.asking_words", lambda _: frozenset())
    monkeypatch.setattr("training.prefer.read_source", lambda _: [])

    def graded() -> list[tuple[str, bool]]:
        written = write([TAUGHT, whole], None, None, tmp_path / "written.jsonl", config)
        return [(one.id, one.good) for one in written]

    assert graded() == [(TAUGHT.id, True), (whole.id, False)]
    plans.clear()
    assert graded() == [(TAUGHT.id, True), (whole.id, False)]


def test_examples_with_a_long_context_are_not_written_for(tmp_path: Path) -> None:
    config = make_config(tmp_path, prefer={})
    config.folder.mkdir(parents=True)
    long = TAUGHT.model_copy(update={"id": "musique/train-2", "context": "It rained. " * 200})
    save_examples([TAUGHT, long], config.folder / "3-screened.jsonl")
    assert choose_examples(config, Prefer(examples=5)) == [TAUGHT]


@pytest.mark.parametrize("method", ["best", "dpo"])
def test_the_student_gives_the_better_plan_more_of_its_belief(
    method: str, student: tuple[Any, Any], tmp_path: Path
) -> None:
    prefer = {"method": method, "learning_rate": 0.02, "epochs": 6}
    config = make_config(tmp_path, finetune={"student": "tiny", "rank": 4}, prefer=prefer)
    model, tokenizer = student
    pair = [
        encode(target(TAUGHT.model_copy(update={"subquestions": plan}), "S_D-T", 3), tokenizer) for plan in (GOOD, POOR)
    ]

    def lead() -> float:
        better, worse = log_probabilities(model, pair, grad=False)
        return float(better - worse)

    before = lead()
    # Some have no worse plan, and some are longer: a step goes through the student in several batches.
    longer = TAUGHT.model_copy(update={"question": TAUGHT.question * 12})
    others = [Preference(TAUGHT, GOOD, None), Preference(longer, GOOD, POOR)]
    losses = learn(model, tokenizer, [Preference(TAUGHT, GOOD, POOR)] * 6 + others, config)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert lead() > before
