"""A local GGUF as teacher, then as solver: real replies, kept durably and read."""

import json
from pathlib import Path

from langchain_divconq import ChatGGUF, Solver
from training.config import Config, Demonstrate, Load
from training.data.plans import is_well_formed
from training.example import Example, load_examples, save_examples
from training.teach.demonstrate import demonstrate
from training.teach.screen import answer_through
from training.teach.teachers import load_teacher

QUESTIONS = {
    "Ida has 3 shelves of 9 jars and breaks 4 jars. How many jars are left?": "23",
    "Is the capital of Norway north of the capital of Greece?": "yes",
}


def test_a_local_model_teaches_and_solves(tmp_path: Path, gguf_path: Path) -> None:
    teacher = load_teacher(f"gguf:{gguf_path}")
    assert isinstance(teacher, ChatGGUF)
    teacher = teacher.model_copy(update={"n_ctx": 1024, "max_tokens": 48})
    config = Config(
        name="run",
        output=tmp_path,
        load=Load(train=()),
        demonstrate=Demonstrate(teacher=f"gguf:{gguf_path}", concurrency=2),
    )
    examples = [
        Example(id=f"own/{number}", source="jsonl", split="train", question=question, answers=(answer,))
        for number, (question, answer) in enumerate(QUESTIONS.items())
    ]
    save_examples(examples, config.folder / "1-examples.jsonl")
    save_examples([], config.folder / "1-validation.jsonl")
    demonstrate(config, teacher)
    demonstrations = list(load_examples(config.folder / "2-demonstrations.jsonl"))
    left_out = json.loads((config.folder / "2-left-out.json").read_text())["examples"]
    assert sorted([*left_out, *(example.id for example in demonstrations)]) == [example.id for example in examples]
    assert all(is_well_formed(example.subquestions or ()) for example in demonstrations)

    # An untuned model of this size answers hardly any right, so what it says is read and not judged.
    solver = Solver(model=teacher)
    for example in demonstrations:
        solved = answer_through(example, solver)
        assert isinstance(solved, Example)
        assert solved.prediction is not None
        assert solved.subanswers == (None if example.subquestions else ())  # one call answers all
