"""The record that flows through the stages: drawn, marked, left out and counted."""

import json
from pathlib import Path

from tests.training_tests.examples import example
from training.example import Example, LeftOut, Outcome, choose, examples_fingerprint, kept, render_counts, save_left_out


def examples(count: int) -> list[Example]:
    return [example(f"own/{number}", f"How many legs have {number} cows?") for number in range(count)]


def test_the_seed_chooses_questions_and_fewer_are_some_of_more() -> None:
    examples = [example(f"{s}/{n}", split="dev") for s in "ba" for n in range(30)]
    five, ten = choose(examples, 5, 0), choose(reversed(examples), 10, 0)
    assert list(five) == ["a", "b"]
    assert all(five[source] == ten[source][:5] for source in five)
    assert five != choose(examples, 5, 1)
    assert {len(found) for found in choose(examples, None, 0).values()} == {30}


def test_the_fingerprint_tells_examples_and_their_order_apart() -> None:
    two, three = examples(2), examples(3)
    marks = {examples_fingerprint(given) for given in (two, three, two[::-1], [three[0], three[2]])}
    assert len(marks) == 4
    assert examples_fingerprint(examples(2)) == examples_fingerprint(examples(2))


def test_what_was_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    outcomes: list[Outcome] = [*examples(1), *(LeftOut(id=f"own/{n}", reason="no plan") for n in (1, 2))]
    assert kept(outcomes) == examples(1)
    assert render_counts(outcomes) == "       1  kept\n       2  left out: no plan"
    save_left_out(outcomes, tmp_path / "left-out.json")
    left_out = {"counts": {"no plan": 2}, "examples": {"own/1": "no plan", "own/2": "no plan"}}
    assert json.loads((tmp_path / "left-out.json").read_text()) == left_out
