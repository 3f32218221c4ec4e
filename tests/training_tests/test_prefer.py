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
from training.prefer import Drawn, as_plan, choose, learn, preferred, recall, summarise, write_plans

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
    assert as_plan("1. Who built Lenne Mill?\n2. Where was #1 born?", QUESTION, 4) == GOOD
    assert as_plan("I cannot tell.", QUESTION, 4) == ()
    assert as_plan("No decomposition needed.", QUESTION, 4) == ()


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


def test_drawing_gives_each_question_the_greedy_plan_and_as_many_as_were_asked_for(tmp_path: Path) -> None:
    from training.student.finetune import add_lora
    from training.student.model import load_student

    config = make_config(tmp_path, finetune={"student": "tiny", "rank": 4}, prefer={"draws": 3})
    model, tokenizer = load_student("tiny", tmp_path, "float32")
    plans = write_plans([QUESTION, QUESTION], add_lora(model, config.finetune), tokenizer, config)
    assert [len(drawn) for drawn in plans] == [4, 4]
    assert plans[0][0] == plans[1][0]  # the greedy plans of one question


def test_a_reply_that_was_cut_off_is_no_plan(tmp_path: Path) -> None:
    import torch

    from training.student.model import completion_ids, load_student

    config = make_config(tmp_path, finetune={"student": "tiny"}, prefer={"draws": 2})
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    reply = torch.tensor([completion_ids("1. Who built Lenne Mill?\n2.", tokenizer)])
    ended, cut = reply, torch.cat([reply[:, :-1], reply[:, :1]], dim=1)

    class Student:
        eval = train = staticmethod(lambda: None)

        def generate(self, input_ids: Any, do_sample: bool, **_: Any) -> Any:
            replies = torch.cat([ended, cut]) if do_sample else ended
            return torch.cat([input_ids.expand(len(replies), -1), replies], dim=1)

    assert write_plans([QUESTION], Student(), tokenizer, config) == [(POOR[:1], POOR[:1], ())]


@pytest.mark.parametrize("method", ["best", "dpo"])
def test_the_student_gives_the_better_plan_more_of_its_belief(method: str, tmp_path: Path) -> None:
    from training.prefer import Preference, _log_probabilities, _told
    from training.student.finetune import add_lora, encode
    from training.student.model import load_student
    from training.student.targets import target

    prefer = {"method": method, "learning_rate": 0.02, "epochs": 6}
    config = make_config(tmp_path, finetune={"student": "tiny", "rank": 4}, prefer=prefer)
    model, tokenizer = load_student("tiny", tmp_path, "float32")
    student = add_lora(model, config.finetune)
    pair = [encode(target(_told(QUESTION, plan), "S_D-T", 3), tokenizer) for plan in (GOOD, POOR)]

    def lead() -> float:
        better, worse = _log_probabilities(student, pair, grad=False)
        return float(better - worse)

    before = lead()
    losses = learn(student, tokenizer, [Preference(QUESTION, GOOD, POOR)] * 8, config)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert lead() > before
