"""The verdict on a solver's reply, by the measure of the benchmark it answers. Pure functions.

Strict is the headline: the answer parsed from the reply, held against the gold answers. Lenient is the rule of the
paper whose method this is, for comparison with its tables: a gold answer anywhere in the reply.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from training.example import Example
from training.scoring import drop_score, find_numbers, normalise, parse_number, parse_quantity, same_answer

Why: TypeAlias = Literal["right", "wrong", "no answer"]

_JOINED = re.compile(r" and ")
_LISTED = re.compile(r",? and |, |; ")
_SIGN_OF_NUMBER = re.compile(r"(?<=[0-9])\s?%|[$€£¥]\s?(?=\.?[0-9])")
_NUMBER = re.compile(r"-?[$€£¥]?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)%?")
_MONTH = re.compile("january|february|march|april|may|june|july|august|september|october|november|december")
_YES_OR_NO = {"yes": ("yes", "true"), "no": ("no", "false")}


@dataclass(frozen=True)
class Verdict:
    """What a reply is worth."""

    strict: float
    """1 where the parsed answer is right, else 0."""
    lenient: float
    """1 where a gold answer stands anywhere in the reply, else 0."""
    f1: float | None
    """DROP's F1; None for other benchmarks."""
    answer: str | None
    """The parsed answer; None: the reply marks none, which is wrong."""
    why: Why
    """What the strict score says, in words."""


def judge(example: Example, reply: str, answer: str | None) -> Verdict:
    """Return what a reply is worth by the measure of the example's benchmark.

    - GSM8K: the one number that the answer names equals the gold number exactly (see `parse_number`).
    - DROP: exact match and F1 by its published rules (see `drop_score` and `_drop`).
    - All others: the answer is the same as one of the gold answers (see `same_answer`); a date may name its parts in
      any order.

    Raises:
        ValueError: The example has no gold answer.
    """
    if not any(gold.strip() for gold in example.answers):
        raise ValueError(
            f"{example.id} has no gold answer to judge by; take an evaluation source that records answers."
        )
    answer = answer if answer and answer.strip() else None
    f1 = None
    if example.source.startswith("drop"):
        strict, f1 = (0.0, 0.0) if answer is None else _drop(answer, example.answers)
    elif example.source.startswith("gsm8k"):
        strict = float(answer is not None and any(_same_number(answer, gold) for gold in example.answers))
    else:
        strict = float(answer is not None and any(_same_text(answer, gold) for gold in example.answers))
    lenient = float(any(_stands_in(gold, reply) for gold in example.answers))
    why: Why = "no answer" if answer is None else "right" if strict else "wrong"
    return Verdict(strict=strict, lenient=lenient, f1=f1, answer=answer, why=why)


def _same_number(answer: str, gold: str) -> bool:
    wanted = parse_number(gold)
    return same_answer(answer, gold) if wanted is None else parse_number(answer) == wanted


def _same_text(answer: str, gold: str) -> bool:
    if same_answer(answer, gold):
        return True
    date = _date(gold)
    return date is not None and _date(answer) == date


def _date(text: str) -> frozenset[str] | None:
    """Return the words of a text that is a day, a month and a year, in any order; None where it is anything else."""
    words = re.sub(r"\b([0-9]{1,2})(?:st|nd|rd|th)\b", r"\1", normalise(text).replace(",", " ")).split()
    months = [word for word in words if _MONTH.fullmatch(word)]
    numbers = [word.lstrip("0") for word in words if re.fullmatch("[0-9]{1,4}", word)]
    if len(words) != 3 or len(months) != 1 or sorted(len(number) > 2 for number in numbers) != [False, True]:
        return None
    return frozenset([*months, *numbers])


def _drop(answer: str, references: tuple[str, ...]) -> tuple[float, float]:
    """Return DROP's exact match and F1, each for the reference and the reading of the answer that suit it best.

    The published rules compare lists of spans, and here both sides are text. A reference of several spans comes joined
    by "and". Where one holds that word, its parts are its spans and the answer is divided likewise, at "and" alone or
    also at commas and semicolons; against any other reference the answer is one span, whatever it lists. A reference
    that is one span with "and" in it loses nothing by being divided: an answer that equals it equals its parts.
    Currency and percent signs beside a number are also tried without, since the rules delete punctuation and would make
    732 of 73.2%.
    """
    scores = []
    for reference in references:
        spans = _parts(_JOINED, reference)
        for text in (answer, _SIGN_OF_NUMBER.sub("", answer)):
            readings = [[text]] if len(spans) < 2 else [_parts(_JOINED, text), _parts(_LISTED, text)]
            scores += [drop_score(reading, [reference if len(spans) < 2 else spans]) for reading in readings]
    return max(exact for exact, _ in scores), max(f1 for _, f1 in scores)


def _parts(separator: re.Pattern[str], text: str) -> list[str]:
    return [part for part in separator.split(text) if part.strip()]


def _stands_in(gold: str, reply: str) -> bool:
    """Return whether a gold answer stands in a reply: a number as a whole token, text without what `normalise` drops.

    Of an answer joined by "and" it is enough that each part stands somewhere. "Yes" and "no" are whole words, too.
    """
    if not gold.strip():
        return False
    if _NUMBER.fullmatch(gold.strip()) and (quantity := parse_quantity(gold.strip())):
        return quantity.number in find_numbers(reply)
    written = normalise(reply)
    if words := _YES_OR_NO.get(normalise(gold)):
        return any(word in written.split() for word in words)
    wanted = [normalise(part) for part in _JOINED.split(gold)]
    return bool(normalise(gold)) and (normalise(gold) in written or all(part and part in written for part in wanted))
