"""From evaluation questions to verdicts, metrics, and what may be committed of them; scripted models write plans."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from langchain_divconq import Decomposer
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.training_tests.examples import example
from tests.unit_tests.fakes import PLAN, QUESTION, ScriptedModel, failing, scripted
from training.config import Config
from training.example import Example, Recorded, choose, save_examples
from training.measure.evaluate import compare, evaluate, plans_file, reference_plan, verdict
from training.measure.plan_metrics import PlanVerdict
from training.measure.plans import Planned, write_plans
from training.measure.publish import publish, render
from training.measure.show import show
from training.store import Records

STEPS = ("How many pens are in 3 boxes of 12?", "How many of #1 are left after 7 are gone?")
TWO_STEPS = example("s/1", QUESTION, split="dev", recorded=Recorded(subquestions=STEPS))
ONE_STEP = example("s/2", "What is 2\u2028plus 3?", split="dev", recorded=Recorded(subquestions=()))
UNKNOWN = example("t/1", "Who is older, Ann or Bo?", split="test")


def config(folder: Path, **changes: Any) -> Config:
    return Config.model_validate({"name": "try", "output": folder, "load": {"train": []}, **changes})


def student(messages: list[BaseMessage]) -> str:
    return NO_DECOMPOSITION if "plus" in messages[-1].text else always(messages)


def always(messages: list[BaseMessage]) -> str:
    """Divide every question."""
    asked = messages[-1].text
    if "plus" in asked:
        return "1. What is 2?\n2. What is #1 plus 3?"
    return "1. How old is Ann?\n2. How old is Bo?" if "older" in asked else PLAN


def verdicts(model: ScriptedModel, folder: Path, *examples: Example) -> list[PlanVerdict]:
    path = folder / "plans.jsonl"
    plans = write_plans(
        examples, Decomposer(model=model, max_subquestions=3, prompt_style="student"), path, {}, free=True
    )
    return [verdict(one, plans[one.id], reference_plan(one, config(folder))) for one in examples]


def test_a_plan_is_judged_beside_the_recorded_one(tmp_path: Path) -> None:
    two_steps, one_step, unknown = verdicts(scripted(student), tmp_path, TWO_STEPS, ONE_STEP, UNKNOWN)
    assert (two_steps.written, two_steps.kept, two_steps.reference, two_steps.shared_edges) == (2, 2, 2, 1)
    assert two_steps.parses
    assert two_steps.agreement is not None
    assert 0.5 < two_steps.agreement < 1
    assert (one_step.written, one_step.kept, one_step.reference, one_step.agreement) == (0, 0, 0, None)
    assert (unknown.kept, unknown.reference) == (2, None)


def test_the_model_is_asked_as_a_student_with_and_without_the_grammar(tmp_path: Path) -> None:
    model = scripted(PLAN)
    verdicts(model, tmp_path, TWO_STEPS)
    assert [message.text for message in model.seen[0]] == [message.text for message in model.seen[1]]
    assert model.seen[0][0].text == "Split the question into at most 3 simpler subquestions."
    assert [options.get("max_tokens") for options in model.options] == [None, 128]


def test_what_the_model_wrote_is_judged_before_the_library_mends_it(tmp_path: Path) -> None:
    [judged] = verdicts(scripted(f"{PLAN}\n3. How many pens are left?"), tmp_path, TWO_STEPS)
    assert (judged.written, judged.copies, judged.kept) == (3, True, 2)


def test_a_reply_that_is_no_plan_is_a_result(tmp_path: Path) -> None:
    [judged] = verdicts(scripted("Let me think."), tmp_path, TWO_STEPS)
    assert (judged.parses, judged.error, judged.kept, judged.agreement) == (False, "DecompositionError", 0, 0)


def test_any_other_error_ends_the_evaluation_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "plans.jsonl"
    write_plans([TWO_STEPS], Decomposer(model=scripted(student)), path, {}, free=True)
    with pytest.raises(RuntimeError, match="no memory"):
        write_plans([TWO_STEPS, ONE_STEP], Decomposer(model=failing(RuntimeError("no memory"))), path, {}, free=True)
    assert set(Records(path, Planned).records) == {TWO_STEPS.id}


def test_arms_are_compared_on_each_source_and_on_all_questions(tmp_path: Path) -> None:
    examples = (TWO_STEPS, ONE_STEP, UNKNOWN)
    ours = verdicts(scripted(student), tmp_path / "a", *examples)
    untuned = verdicts(scripted(always), tmp_path / "b", *examples)
    table = compare({"ours": ours, "untuned": untuned})
    assert list(table) == ["s", "t", "all"]
    whole = table["s"]["undivided_one_step"]
    assert (whole["ours"]["value"], whole["untuned"]["value"], whole["difference"]["value"]) == (1, 0, 1)
    assert "agreement" not in table["t"]
    assert table["all"]["parse_rate"]["ours"] == {"value": 1, "low": 1, "high": 1, "n": 3}
    assert set(compare({"ours": ours})["all"]["parse_rate"]) == {"ours"}
    fewer = compare({"ours": ours, "untuned": untuned[:1]})["all"]["parse_rate"]
    assert [fewer[key]["n"] for key in ("ours", "untuned", "difference")] == [3, 1, 1]


def evaluated(folder: Path) -> Config:
    """Return a run that looks as an evaluation leaves it."""
    run = config(folder)
    save_examples([TWO_STEPS, ONE_STEP, UNKNOWN], run.folder / "1-evaluation.jsonl")
    judged: dict[Any, list[PlanVerdict]] = {"ours": [], "untuned": []}
    for arm, model in (("ours", scripted(student)), ("untuned", scripted("Let me think."))):
        for source, examples in choose([TWO_STEPS, ONE_STEP, UNKNOWN], None, 0).items():
            path = plans_file(run, arm, source)  # type: ignore[arg-type]
            plans = write_plans(examples, Decomposer(model=model), path, {}, free=True)
            judged[arm] += [verdict(one, plans[one.id], reference_plan(one, run)) for one in examples]
    lines = [json.dumps({"arm": arm, **one.model_dump()}) + "\n" for arm, found in judged.items() for one in found]
    (run.folder / "6-verdicts.jsonl").write_text("".join(lines), encoding="utf-8")
    evaluation = {
        "weights": {"base": "b" * 64, "adapter": "a" * 64},
        "prompt_version": "0",
        "max_subquestions": 3,
        "questions": {"s": 2, "t": 1},
        "metrics": compare(judged),
    }
    (run.folder / "6-evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def test_what_is_published_holds_numbers_and_no_words(tmp_path: Path) -> None:
    run = evaluated(tmp_path)
    publish(run, tmp_path / "results")
    published = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "results" / "try").iterdir()}
    assert set(published) == {"decompositions.jsonl", "metrics.json", "metrics.md"}
    for text in published.values():
        assert not any(word in text for word in ("pens", "boxes", "plus", "Ann", "think"))
    assert len(published["decompositions.jsonl"].splitlines()) == 6
    assert (
        "| parse rate | 2 | 1.00 [1.00, 1.00] | 0.00 [0.00, 0.00] | +1.00 [+1.00, +1.00] |" in published["metrics.md"]
    )


def test_a_verdict_with_words_in_it_is_not_published(tmp_path: Path) -> None:
    run = evaluated(tmp_path)
    with (run.folder / "6-verdicts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"arm": "ours", "id": "s/9", "source": "s", "parses": true, "question": "Who?"}\n')
    with pytest.raises(ValueError, match="question"):
        publish(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_what_is_shown_are_both_plans_and_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(evaluated(tmp_path))
    shown = capsys.readouterr().out
    assert shown.count(PLAN.splitlines()[0]) == 2  # ours, and a reference
    assert shown.count("1. How old is Ann?") == 1
    assert shown.count("(DecompositionError)") == 3
    assert shown.count("reference:\n    (none)") == 1


def test_the_table_leaves_out_what_one_arm_lacks() -> None:
    one = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}
    found = {"weights": {"adapter": "a"}, "prompt_version": "2", "max_subquestions": 3, "questions": {"s": 4}}
    table = render("try", {**found, "metrics": {"s": {"agreement": {"ours": one}}}})
    assert "| agreement with the reference | 4 | 0.50 [0.25, 0.75] |  |  |" in table


def test_a_solver_is_not_measured_by_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = config(tmp_path, finetune={"role": "S_E-T"})
    run.folder.mkdir()
    evaluate(run)
    assert "nothing to evaluate here" in capsys.readouterr().out
    found = json.loads((run.folder / "6-evaluation.json").read_text(encoding="utf-8"))
    assert found == {"role": "S_E-T", "metrics": {}}


def test_nothing_to_evaluate_on_is_an_error_that_says_where_to_name_it(tmp_path: Path) -> None:
    run = config(tmp_path)
    save_examples([], run.folder / "1-evaluation.jsonl")
    with pytest.raises(ValueError, match=r"holds no questions\. Name sources under load\.evaluate"):
        evaluate(run)
