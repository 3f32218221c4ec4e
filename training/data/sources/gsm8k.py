"""GSM8K: problems with worked solutions, and the same with the subquestions each step of the solution answers."""

import re
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from training.data.plans import given, normalise_subquestion
from training.data.sources.rows import Files, Row
from training.example import ONE_STEP, Example, Recorded, Split

MAIN: Files = {"train": ("gsm8k/main_train.parquet",), "test": ("gsm8k/main_test.parquet",)}
SOCRATIC: Files = {"train": ("gsm8k/socratic_train.parquet",), "test": ("gsm8k/socratic_test.parquet",)}

_CALCULATION = re.compile(r"<<([^=>]*)=([^>]*)>>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_SINGLE_OPERATION = re.compile(r"\s*\$?([\d.,]+)\s*[-+*/x]\s*\$?([\d.,]+)\s*%?\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'$\d])")
_WITH_CONTEXT = 8
"""Percent of the training problems that are asked with their premise as context."""


def main(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield problem and answer."""
    for number, row in enumerate(rows):
        yield Example.of(source, split, f"{split}-{number}", row["question"], answers=_gold(row))


def socratic(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield problem and answer with the recorded subquestions.

    The last one is the problem's own question and is left out, since a solver answers that anyway: its recorded answer
    is the working from the others to the final answer. A subquestion whose calculation needs an earlier result says
    so. Some training problems have their premise as context, so that a student also learns to read one.
    """
    for number, row in enumerate(rows):
        name, question, context = f"{split}-{number}", row["question"], None
        if _has_context(source, name) and (parts := divide(question)):
            context, question = parts
        steps = read_steps(row["answer"])
        said = [_CALCULATION.sub("", answer).strip() for _, answer in steps]
        plan, gold = tuple(_with_references(steps, row["question"])[:-1]), _gold(row)
        working = said[-1] if said else None
        recorded = Recorded(subquestions=plan, subanswers=tuple(said[:-1]), working=working, prediction=gold[0])
        yield Example.of(source, split, name, question, context=context, answers=gold, recorded=recorded)


def one_step(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield problems of one calculation: the beginning of a premise, with the first subquestion for its question.

    Only where that calculation is one operation on two numbers, and the premise, as far as it states both, states no
    third: with more of it, the problem would look like the longer one that it is taken from.
    """
    for number, row in enumerate(rows):
        steps, parts = read_steps(row["answer"]), divide(row["question"])
        if len(steps) < 2 or not parts:
            continue
        calculations = _CALCULATION.findall(steps[0][1])
        operation = _SINGLE_OPERATION.fullmatch(calculations[0][0]) if len(calculations) == 1 else None
        premise = operation and _stating(parts[0], {_value(operation[1]), _value(operation[2])})
        if not premise:
            continue
        name, question, context = f"{split}-{number}", f"{premise} {steps[0][0]}", None
        if _has_context(source, name):
            context, question = premise, steps[0][0]
        answers = (calculations[0][1].strip(),)
        yield Example.of(source, split, name, question, context=context, answers=answers, recorded=ONE_STEP)


def _has_context(source: str, name: str) -> bool:
    return name.startswith("train") and crc32(f"{source}/{name}".encode()) % 100 < _WITH_CONTEXT


def _stating(premise: str, numbers: set[str]) -> str | None:
    """Return the sentences up to the last of these numbers; None where they state another, or not all of them."""
    sentences = _SENTENCE_END.split(premise)
    for count in range(1, len(sentences) + 1):
        beginning = " ".join(sentences[:count])
        stated = {_value(found) for found in _NUMBER.findall(beginning)}
        if numbers <= stated:
            return beginning if stated == numbers else None
    return None


def divide(question: str) -> tuple[str, str] | None:
    """Return a problem's premise and its last sentence; None where that sentence is not all of the question."""
    *premise, asked = _SENTENCE_END.split(question.strip())
    if not premise or not asked.endswith("?") or any("?" in sentence for sentence in premise):
        return None
    return " ".join(premise), asked


def read_steps(answer: str) -> list[tuple[str, str]]:
    """Return each recorded subquestion with its answer."""
    lines = [line.split(" ** ", 1) for line in answer.split("\n") if " ** " in line]
    return [(subquestion.strip(), subanswer.strip()) for subquestion, subanswer in lines]


def _with_references(steps: Sequence[tuple[str, str]], question: str) -> list[str]:
    stated = {_value(found) for found in _NUMBER.findall(question)}
    results: list[set[str]] = []
    subquestions = []
    for at, (subquestion, subanswer) in enumerate(steps):
        calculations = _CALCULATION.findall(subanswer)
        operands = {_value(found) for calculation, _ in calculations for found in _NUMBER.findall(calculation)}
        needed = set()
        for operand in operands:
            # Of equal results the latest: it is the one at hand.
            earlier = next((n for n in range(at, 0, -1) if operand in results[n - 1]), None)
            if earlier is not None and (operand not in stated or earlier == at):
                needed.add(earlier)
        subquestions.append(given(needed, normalise_subquestion(subquestion)))
        results.append({_value(found) for _, result in calculations[-1:] for found in _NUMBER.findall(result)})
    return subquestions


def _gold(row: Row) -> tuple[str, ...]:
    return (row["answer"].rsplit("####", 1)[1].strip().replace(",", ""),)


def _value(number: str) -> str:
    """Return a number's digits in one form: 1,200 and 1200.0 are the same."""
    try:
        return f"{float(number.replace(',', '')):g}"
    except ValueError:
        return number
