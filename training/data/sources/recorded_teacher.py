"""Recorded decompositions and answers of large models to other benchmarks' questions: right and wrong.

The models' terms do not allow weights trained on this to be shared. `load` takes it only in an experiment.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from training.data.plans import normalise_plan
from training.data.sources.rows import Files, Row, read_file
from training.example import Example, Recorded, Split

CHATGPT_FILES: Files = {"test": ("recorded_teacher/gsm8k_test/chatgpt_decomposer_chatgpt_solver.jsonl",)}

_NUMBERED = re.compile(r"^(?:[QA]\d+\s*[:.]\s*)+", re.MULTILINE)
_STEP = re.compile(r"^Q\d+[.:]\s*(.+?)\n(.*?)(?=^Q\d+[.:]|^Final Answer|\Z)", re.MULTILINE | re.DOTALL)
_ANSWER = re.compile(r"\b[Tt]he (?:final )?answer is:? *(.+?)\.?(?=$| \(?[A-Z])", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_POWER = re.compile(r"\^\d")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def chatgpt(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield GSM8K test problems with GPT-3.5's subquestions, but for the last, which is the problem's own question."""
    for number, row in enumerate(rows):
        subquestions = _lines(row["questions"])
        said, _, final = row["answers"].partition("Final answer:")
        subanswers = _lines(said)
        recorded = Recorded(
            subquestions=normalise_plan(subquestions[:-1]),
            subanswers=tuple(subanswers[:-1]) if len(subanswers) == len(subquestions) else None,
            prediction=final.strip() or None,
        )
        name, answers = f"test-{number}", (f"{row['answer']:g}",)
        yield Example.of(source, "test", name, row["problem"], answers=answers, recorded=recorded)  # whatever is asked


def least_to_most(rows: Iterable[Row], source: str, split: Split, path: Path) -> Iterator[Example]:
    """Yield ASDiv or MultiArith problems with a large model's least-to-most solution.

    They are test questions. An experiment on screening needs demonstrations of which some are wrong, and no train split
    at hand has any: so the experiment may call them "train". Nothing is evaluated on them, ever: `load` refuses a run
    that does both.

    `path` is where the rows come from; their questions lie beside it, or a ValueError says that they do not.
    """
    beside = path.with_name("questions_test.jsonl")
    if not beside.is_file():
        raise ValueError(f"{path} needs its questions beside it, and there is no {beside}.")
    questions = {row["id"]: row for row in read_file(beside)}
    for row in rows:
        asked = questions[row["id"]]
        steps = [(subquestion.strip(), answer.strip()) for subquestion, answer in _STEP.findall(row["completion"])]
        recorded = Recorded(
            subquestions=normalise_plan(subquestion for subquestion, _ in steps),
            subanswers=tuple(answer for _, answer in steps),
            prediction=_prediction(row["completion"]),
        )
        name, question, gold = f"{path.parent.name}-{row['id']}", asked["question"].strip(), _gold(asked["answer"])
        yield Example.of(source, split, name, question, answers=(gold,), recorded=recorded)


def _gold(answer: str | list[str]) -> str:
    # Several are the parts of one answer ("find the ages of both").
    return answer.removeprefix("####").strip() if isinstance(answer, str) else ", ".join(answer)


def _prediction(completion: str) -> str:
    """Return what is said to be the answer, or else the numbers of the last sentence.

    A solution that arrives at nothing is a wrong one, not one without a record.
    """
    if said := _ANSWER.findall(completion):
        return str(said[-1]).strip()
    last = _SENTENCE_END.split(completion.strip())[-1]
    return ", ".join(_NUMBER.findall(_POWER.sub("", last)))


def _lines(text: str) -> list[str]:
    return [line for line in (_NUMBERED.sub("", line).strip() for line in text.split("\n")) if line]
