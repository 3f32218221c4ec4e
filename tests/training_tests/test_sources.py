"""Each reader, on rows in its dataset's form that we wrote ourselves, and on the datasets where they are at hand."""

import json
import re
from itertools import islice
from pathlib import Path
from typing import get_args

import pytest

from tests.training_tests.examples import needs_data
from tests.training_tests.rows import MUSIQUE, QDMR, SOCRATIC, STRATEGY, WIKI2, read, recorded, save, subquestions
from training.config import DATA, Source, SourceName
from training.data.leaks import drop_passage
from training.data.plans import Unusable, recorded_plan
from training.data.sources import READERS, read_source
from training.data.sources.gsm8k import divide
from training.data.sources.musique import ask_hop
from training.data.sources.qdmr import ask_steps
from training.data.sources.relations import ask_relation


def test_every_source_a_config_can_name_has_a_reader() -> None:
    assert {*READERS, "arithmetic_one_step", "jsonl", "least_to_most"} == set(get_args(SourceName))


def test_a_socratic_plan_says_which_results_it_needs_and_leaves_the_question_to_itself(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "gsm8k_socratic", SOCRATIC, split="test")
    assert found.answers == ("29",)
    assert subquestions(found) == (
        "How many rolls are on the large trays?",
        "How many rolls are on the small trays?",
        "Given #1 and #2, how many rolls does she bake?",
        "Given #3, how many rolls are left?",
    )
    assert recorded(found).prediction == "29"
    assert (recorded(found).subanswers or [""])[0] == "They hold 4*15=60 rolls."
    assert (recorded(found).working or "").endswith("29 bags.")
    assert (found.split, found.id, found.context) == ("test", "gsm8k_socratic/test-0", None)


def test_some_training_problems_have_their_premise_as_context_and_lose_no_word(tmp_path: Path) -> None:
    examples = read(tmp_path, "gsm8k_socratic", *[SOCRATIC] * 200)
    divided = [example for example in examples if example.context]
    assert 4 <= len(divided) <= 30
    assert {f"{e.context} {e.question}" for e in divided} == {SOCRATIC["question"]}
    assert examples == read(tmp_path, "gsm8k_socratic", *[SOCRATIC] * 200)


def test_a_problem_of_one_step_is_as_much_of_a_premise_as_its_first_subquestion_needs(tmp_path: Path) -> None:
    question = "Rosa bakes 4 trays of 15 rolls. Then she bakes 3 trays of 12. How many rolls does she bake?"
    (found,) = read(tmp_path, "gsm8k_one_step", {**SOCRATIC, "question": question})
    assert found.question == "Rosa bakes 4 trays of 15 rolls. How many rolls are on the large trays?"
    assert (found.answers, subquestions(found)) == (("60",), ())


def test_a_premise_that_states_a_third_number_on_the_way_makes_no_problem_of_one_step(tmp_path: Path) -> None:
    assert read(tmp_path, "gsm8k_one_step", SOCRATIC) == []


def test_problems_of_our_own_have_one_calculation_and_two_numbers_at_most() -> None:
    source = Source(name="arithmetic_one_step")
    examples = list(read_source(source))
    assert examples == list(read_source(source))
    assert {(e.split, subquestions(e)) for e in examples} == {("train", ())}
    assert max(len(re.findall(r"[0-9]+", e.question)) for e in examples) == 2
    assert not [e.question for e in examples if "{" in e.question or not e.question.endswith("?")]
    with pytest.raises(ValueError, match=r'is there to train, and split "test" was asked for'):
        list(read_source(Source(name="arithmetic_one_step", split="test")))


def test_some_formal_questions_get_a_passage_on_their_subject(tmp_path: Path) -> None:
    passage = "The game began late. " + "A quarter ended without a score. " * 30
    rows = [
        {"passage_id": "nfl_7", "passage": passage, "qa_pairs": []},
        *({**QDMR, "question_id": f"DROP_train_{kind}_{n}_x"} for kind in ("nfl", "history") for n in range(40)),
    ]
    examples = read(tmp_path, "drop_qdmr", *rows)
    contexts = [e.context for e in examples if "_nfl_" in e.id]
    assert {e.context for e in examples if "_history_" in e.id} == {None}
    assert 10 <= sum(context is not None for context in contexts) <= 30
    (beginning,) = {context for context in contexts if context}
    assert passage.startswith(beginning)
    assert 100 < len(beginning.split()) <= 120


@pytest.mark.parametrize("calculation", ["4*15+1=61", "4*16=64", "4*15*2=120"])
def test_a_first_step_that_is_not_one_operation_on_stated_numbers_is_no_problem_of_one_step(
    tmp_path: Path, calculation: str
) -> None:
    row = {
        **SOCRATIC,
        "answer": SOCRATIC["answer"].replace("4*15=60", calculation, 1).replace("<<4*15=60", f"<<{calculation}"),
    }
    assert read(tmp_path, "gsm8k_one_step", row) == []


def test_a_problem_is_divided_before_its_only_question() -> None:
    assert divide("Rosa has 3.5 kg. How many grams?") == ("Rosa has 3.5 kg.", "How many grams?")
    assert divide("How many grams are 3.5 kg?") is None
    assert divide("Who has more? Rosa has 3. Is it she?") is None
    assert divide("Rosa has 3. Say how many.") is None


def test_a_gold_answer_is_a_plain_number(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "gsm8k", {"question": "How much?", "answer": "So much.\n#### 1,200"}, split="test")
    assert found.answers == ("1200",)


def test_strategyqa_keeps_its_last_check(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "strategyqa", STRATEGY, split="dev")
    assert found.answers == ("no",)
    assert subquestions(found)[1:] == ("How wide is a piano?", "Is #1 greater than #2?")
    (one,) = read(tmp_path, "strategyqa_one_step", STRATEGY)
    assert (one.question, subquestions(one), one.answers) == ("How wide is a heron's throat?", (), ())


def test_musique_hops_become_questions_in_the_questions_own_spelling(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "musique", MUSIQUE, MUSIQUE, split="dev")
    assert subquestions(found) == ("Who built the Lenne Mill?", "Where was #1 born?")
    assert recorded(found).subanswers == ("Ida Voss", "Altena")
    assert found.context is None
    (one,) = read(tmp_path, "musique_one_step", MUSIQUE, split="dev")
    assert (one.question, one.answers, subquestions(one)) == ("Who built the Lenne Mill?", ("Ida Voss",), ())


def test_some_musique_training_questions_have_their_evidence_as_context(tmp_path: Path) -> None:
    rows = [{**MUSIQUE, "question": f"{MUSIQUE['question']} {number}"} for number in range(60)]
    contexts = [example.context for example in read(tmp_path, "musique", *rows)]
    assert {*contexts} == {None, "Ida Voss built the mill.\nShe was born in Altena."}
    long = [{"question": "Who?", "answer": "x", "evidence": "word " * 300} for _ in range(2)]
    rows = [{**row, "decomposition": long} for row in rows]
    assert {example.context for example in read(tmp_path, "musique", *rows)} == {None}


@pytest.mark.parametrize(
    ("hop", "question"),
    [
        ("Lenne Mill >> owned by", "Who owns Lenne Mill?"),
        ("#1 >> colour of the door", "What is the colour of the door of #1?"),
        ("the town where #1 is", "What is the town where #1 is?"),
        ("the town #1 died in is what", "The town #1 died in is what?"),
        ("builder of #1", "What is the builder of #1?"),
        ("in which town is #1", "In which town is #1?"),
        ("#1 was built by whom ?", "#1 was built by whom?"),
        ("Is #1 older than #2", "Is #1 older than #2?"),
    ],
)
def test_every_hop_becomes_a_question(hop: str, question: str) -> None:
    assert ask_hop(hop, "Who owns it?") == question


def test_facts_become_subquestions_that_refer_to_each_other(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "wiki2", WIKI2)
    assert subquestions(found) == ("Who directed Grey Harbour?", "Where was #1 born?")
    (one,) = read(tmp_path, "wiki2_one_step", WIKI2)
    assert (one.question, one.answers) == ("Who directed Grey Harbour?", ("Ida Voss",))


def test_things_compared_are_looked_up_in_the_questions_order_and_the_question_compares(tmp_path: Path) -> None:
    evidence = ["Per Lund->date of birth->1 May 1903", "Ida Voss->date of birth->2 June 1901"]
    (found,) = read(
        tmp_path, "wiki2", {"question": "Who was born first, Ida Voss or Per Lund?", "answer": "", "evidence": evidence}
    )
    assert subquestions(found) == ("When was Ida Voss born?", "When was Per Lund born?")


def test_a_fact_about_what_the_question_does_not_name_makes_no_plan(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "wiki2", {**WIKI2, "question": "Where was she born?"})
    assert found.recorded is None


def test_an_unknown_relation_is_asked_for_by_its_name() -> None:
    assert ask_relation("Altena", "twin town") == "What is the twin town of Altena?"


@pytest.mark.parametrize(
    ("steps", "plan"),
    [
        ("passes that Voss threw; passes of Lund; number of #1; number of #2; which is more of #3, #4",
         ("How many passes did Voss throw?", "How many passes did Lund have?")),
        ("yards of runs of Ida Voss; longest of #1; shortest of #1; difference of #2 and #3",
         ("How many yards was the longest run of Ida Voss?", "How many yards was the shortest run of Ida Voss?")),
        ("when was the fire in Altena; when was the flood; difference of #2 and #1",
         ("When was the fire in Altena?", "When was the flood?")),
        ("the shortest run of the game; players that scored #1",
         ("What is the shortest run of the game?", "Which players scored #1?")),
        ("runs of Ida Voss; #1 that were over 30 yards; number of #2",
         ("What are the runs of Ida Voss?", "Which of #1 were over 30 yards?")),
        ("rolls that Rosa had in May; the number of #1", ()),
        ("who kicked first", ()),
        ("players; points of #1; number of #2 for each #1; #1 where #3 is highest", None),
    ],
)  # fmt: skip
def test_formal_steps_are_put_in_plain_words(steps: str, plan: tuple[str, ...] | None) -> None:
    assert ask_steps(";".join(f"return {step.strip()} " for step in steps.split(";"))) == plan


def test_a_drop_question_with_formal_steps_is_of_the_split_its_identifier_says(tmp_path: Path) -> None:
    dev = {**QDMR, "question_id": "DROP_dev_nfl_2_y"}
    (found,) = read(tmp_path, "drop_qdmr", QDMR, dev)
    assert found.id == "drop_qdmr/DROP_train_nfl_1_x"
    assert subquestions(found) == ("How many passes did Voss throw?", "How many passes did Lund have?")
    (found,) = read(tmp_path, "drop_qdmr", QDMR, dev, split="dev")
    assert (found.id, found.split) == ("drop_qdmr/DROP_dev_nfl_2_y", "dev")


def test_a_drop_question_asked_twice_is_one_with_the_answers_of_both(tmp_path: Path) -> None:
    context = "Passage: It rained.\nQuestion: Did it?\nAnswer:"
    rows = [{"context": context, "ref_text": "yes|it did"}, {"context": context, "ref_text": "rain|yes"}]
    (found,) = read(tmp_path, "drop", *rows, split="dev")
    assert (found.context, found.question, found.answers) == ("It rained.", "Did it?", ("yes", "it did", "rain"))


def test_drop_is_read_in_its_nested_form_and_the_hubs(tmp_path: Path) -> None:
    date = {"day": "2", "month": "May", "year": ""}
    answers = [{"number": "7", "date": {}, "spans": []}, {"number": "", "date": {}, "spans": ["Voss", "Lund"]}]
    answers.append({"number": "", "date": date, "spans": []})
    pairs = [{"query_id": f"q{at}", "question": f"Q{at}?", "answer": given} for at, given in enumerate(answers)]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"nfl_1": {"passage": "It rained.", "qa_pairs": pairs}}))
    nested = list(read_source(Source(name="drop", split="dev", path=path)))
    assert [example.answers for example in nested] == [("7",), ("Voss and Lund",), ("2 May",)]
    assert nested[0].id == "drop/nfl_1_q0"
    hub = {"query_id": "q", "passage": "It rained.", "question": "Did it?", "answers_spans": {"spans": ["yes", "yes"]}}
    (found,) = read(tmp_path, "drop", hub, split="dev")
    assert (found.context, found.answers) == ("It rained.", ("yes",))


def test_evaluation_only_sets_are_test_whatever_is_asked_for(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "bamboogle", {"Question": "Who?", "Answer": "Voss"})
    assert found.split == "test"
    row = {
        "problem": SOCRATIC["question"],
        "questions": "Q1: Q1: How many rolls?\nQ2: How many bags?",
        "answers": "A1: 96\nA2: 29\n\nFinal answer: 29",
        "answer": 29.0,
    }
    (found,) = read(tmp_path, "gsm8k_chatgpt", row)
    assert (found.split, found.answers, subquestions(found)) == ("test", ("29",), ("How many rolls?",))
    assert (recorded(found).subanswers, recorded(found).prediction) == (("96",), "29")


def test_a_least_to_most_run_is_read_with_the_questions_beside_it(tmp_path: Path) -> None:
    completion = "Q1. How many rolls?\nThere are 96.\nQ2. How many are left?\n58.\n"
    completion += "Final Answer: How many bags?\nThe answer is 30."
    path = save([{"id": 4, "completion": completion}], tmp_path / "own" / "some_LtM.jsonl")
    with pytest.raises(ValueError, match=r"needs its questions beside it, and there is no .*questions_test\.jsonl"):
        list(read_source(Source(name="least_to_most", path=path)))
    save([{"id": 4, "question": "How many bags?", "answer": "#### 29"}], path.with_name("questions_test.jsonl"))
    (found,) = read_source(Source(name="least_to_most", path=path))
    assert found.id == "least_to_most/own-4"
    assert (found.answers, subquestions(found)) == (("29",), ("How many rolls?", "How many are left?"))
    assert (recorded(found).subanswers, recorded(found).prediction) == (("There are 96.", "58."), "30")


@pytest.mark.parametrize(
    ("ending", "prediction"),
    [
        ("The answer is 30.", "30"),
        ("The final answer is: $1.50. She pays it at once.", "$1.50"),
        ("Therefore, Rosa fills 29 bags.", "29"),
        ("So x = 30, and 2x = 60. There are 60 cm^2 in all.", "60"),
        ("Each hat costs $12 and each scarf $1,400.5.", "12, 1,400.5"),
        ("It cannot be told.", ""),
    ],
)
def test_the_answer_of_a_least_to_most_run_is_what_it_says_or_the_numbers_it_ends_with(
    tmp_path: Path, ending: str, prediction: str
) -> None:
    path = save(
        [{"id": 4, "completion": f"Q1. How many?\n96.\nFinal Answer: {ending}"}], tmp_path / "own" / "LtM.jsonl"
    )
    save([{"id": 4, "question": "How many bags?", "answer": "#### 29"}], path.with_name("questions_test.jsonl"))
    (found,) = read_source(Source(name="least_to_most", path=path))
    assert recorded(found).prediction == prediction


@needs_data
@pytest.mark.parametrize("name", READERS)
def test_each_dataset_at_hand_is_read_whole(name: SourceName) -> None:
    for split in READERS[name].files:
        examples = list(read_source(Source(name=name, split=split)))
        assert examples
        assert {example.split for example in examples} == {split}
        assert len({example.id for example in examples}) == len(examples)


@needs_data
def test_no_drop_question_with_formal_steps_for_training_is_about_a_dev_passage() -> None:
    train = {drop_passage(example) for example in read_source(Source(name="drop_qdmr"))}
    dev = {drop_passage(example) for example in read_source(Source(name="drop_qdmr", split="dev"))}
    sample = Source(name="drop", split="dev", path=DATA / "drop" / "drop_dataset_dev_sample.json")
    dev |= {drop_passage(example) for example in read_source(sample)}
    assert None not in train | dev
    assert not train & dev


@needs_data
def test_a_multi_hop_plan_says_where_it_needs_an_earlier_answer() -> None:
    for example in read_source(Source(name="musique")):
        assert any("#" in text for text in subquestions(example)), example.id


@needs_data
@pytest.mark.parametrize("name", ["gsm8k_socratic", "strategyqa", "musique"])
def test_nearly_all_that_is_recorded_makes_a_plan(name: SourceName) -> None:
    usable = 0
    for example in islice(read_source(Source(name=name)), 300):
        try:
            usable += len(recorded_plan(example, 3, "first")) > 0
        except Unusable:
            continue
    assert usable > 0.95 * 300
