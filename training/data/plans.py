"""Recorded decompositions, made plans for a student. Pure functions.

A student imitates what it is shown: a plan that repeats itself, restates the question, or could not have been written
under the decomposer's grammar is mended or left out.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

from langchain_divconq.errors import DecompositionError
from langchain_divconq.grammar import MAX_LENGTH
from langchain_divconq.plans import clean_plan, parse_plan, render_plan
from langchain_divconq.types import fill_references, references
from training.example import Example, Recorded

LongPlans: TypeAlias = Literal["drop", "first", "last"]

_NEAR_COPY = 0.9
_GIVEN = re.compile(r"Given (#\d(?:(?:, | and )#\d)*), (.+)", re.DOTALL)
_REFERENCE = r"#[1-9](?![0-9])"
_ANY = r"[^\x00-\x1f\x7f-\x9f#?]"
# As grammar.py has it: a reference and what follows it count once.
_LINE = re.compile(
    rf"(?:[^\x00-\x20\x7f-\xa0#?]|{_REFERENCE}{_ANY})(?:{_ANY}|{_REFERENCE}{_ANY}){{0,{MAX_LENGTH - 2}}}"
    rf"(?:{_REFERENCE})?\?"
)
_ASKING = frozenset(
    {"who", "whom", "whose", "what", "when", "where", "which", "why", "how", "is", "are", "was", "were", "do", "does"}
    | {"did", "has", "have", "had", "can", "could", "will", "would", "should"}
)
# Only these lose their capital inside a sentence: any other first word may be a name.
_OPENERS = _ASKING | {
    *("after", "and", "as", "at", "before", "by", "during", "each", "for", "from", "given", "if", "in", "it", "its"),
    *("of", "on", "out", "per", "so", "than", "that", "the", "their", "then", "there", "these", "this", "to", "while"),
    "with",
}
_FUNCTION_WORDS = _OPENERS | {
    *("a", "an", "any", "be", "been", "but", "he", "her", "him", "his", "i", "many", "more", "most", "much", "not"),
    *("or", "she", "they", "we", "you"),
}
# A variable's value is not known to whoever reads the next subquestion.
_ALGEBRA = re.compile(r"\b(?:variables?|equations?|in terms of|express(?:ed)?)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"[.!?]\W?\s+")


class Unusable(ValueError):
    """No plan for a student can be made of what is recorded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Why, in a short phrase of a fixed set, to be counted by."""


def recorded_plan(example: Example, max_subquestions: int, long_plans: LongPlans) -> tuple[str, ...]:
    """Return the plan a student is to write, made of what the dataset records; empty: no decomposition is needed.

    Whatever is recorded, the plan is one the decomposer's grammar allows.

    Raises:
        Unusable: There is no such plan; says why.
    """
    if example.recorded is None:
        raise Unusable("nothing recorded")
    if not example.recorded.subquestions:
        return ()
    # A reviewed plan may ask in the question's own words, as people do of two things.
    plan = example.recorded.subquestions if example.recorded.reviewed else _mended(example.recorded, example)
    capped = cap_plan(plan, max_subquestions, long_plans)
    if capped is None:
        raise Unusable("longer than the cap")
    if not is_well_formed(capped):
        raise Unusable("not in the grammar's language")
    return capped


def _mended(recorded: Recorded, example: Example) -> tuple[str, ...]:
    """Return a recorded plan without what repeats, or restates the question."""
    plan: Sequence[str] = normalise_plan(recorded.subquestions)
    if not all(is_question(text) for text in plan):
        raise Unusable("a subquestion asks nothing")
    if any(not 1 <= n < number for number, text in enumerate(plan, start=1) for n in references(text)):
        raise Unusable("reference to no earlier subquestion")
    plan = clean_plan(_without_second_thoughts(plan), example.asked, len(plan))
    fresh = [at for at, text in enumerate(plan) if not is_near_copy(text, example.question)]
    found = keep_subquestions(plan, fresh)
    if found is None:
        raise Unusable("rests on a restatement of the question")
    if not found:
        raise Unusable("only restates the question")
    return found


def normalise_plan(subquestions: Iterable[str]) -> tuple[str, ...]:
    """Return recorded subquestions in one form: one line, a capital first, one question mark, at the end."""
    return tuple(normalise_subquestion(subquestion) for subquestion in subquestions)


def normalise_subquestion(text: str) -> str:
    """Return a subquestion in the form of the plans; what it says is left alone."""
    text = " ".join(text.replace("\u2019", "'").replace("``", '"').replace("''", '"').split())
    text = re.sub(r"\s+(?='s\b|[?,;:.!](?:\s|$))", "", text)
    text = re.sub(r"(?<=\w) ' (?=s\b)", "'", text)
    text = re.sub(r"[\s.?!,;:]+$", "", text)
    return capitalise(text) + "?"


def capitalise(text: str) -> str:
    """Return the text with its first letter upper case."""
    return text[:1].upper() + text[1:]


def decapitalise(text: str) -> str:
    """Return a question as it goes on after a comma; a first word that may be a name keeps its capital."""
    first = _WORD.match(text)
    return text[:1].lower() + text[1:] if first and first[0].casefold() in _OPENERS else text


def given(numbers: Collection[int], subquestion: str) -> str:
    """Return the subquestion with the earlier answers it needs named in front: "Given #1 and #2, how many …?"."""
    if not numbers:
        return subquestion
    *others, last = [f"#{number}" for number in sorted(numbers)]
    named = f"{', '.join(others)} and {last}" if others else last
    return f"Given {named}, {decapitalise(subquestion)}"


def keep_subquestions(plan: Sequence[str], kept: Sequence[int]) -> tuple[str, ...] | None:
    """Return some of a plan's subquestions, references renumbered.

    A reference to one that is not kept is struck from a "Given #1, …"; None where it stands anywhere else, since the
    subquestion would make no sense.

    `kept` are positions from 0, ascending.
    """
    new_number = {old + 1: new for new, old in enumerate(kept, start=1)}
    result = []
    for at in kept:
        text = plan[at]
        if match := _GIVEN.fullmatch(text):
            text = given([n for n in references(match[1]) if n in new_number], match[2])
        if any(number not in new_number for number in references(text)):
            return None
        text = fill_references(text, {old: f"#{new}" for old, new in new_number.items()})
        result.append(capitalise(text))
    return tuple(result)


def cap_plan(subquestions: Sequence[str], cap: int, long_plans: LongPlans) -> tuple[str, ...] | None:
    """Return the plan with at most `cap` subquestions; None where it is longer and cannot be shortened.

    "first" and "last" keep so many of a longer plan; "drop" keeps nothing.
    """
    count = len(subquestions)
    if count <= cap:
        return tuple(subquestions)
    if long_plans == "drop":
        return None
    return keep_subquestions(subquestions, range(cap) if long_plans == "first" else range(count - cap, count))


def is_near_copy(subquestion: str, question: str) -> bool:
    """Whether a subquestion says in nearly the same words what the question's last sentence asks.

    With a reference in it, it asks something else, unless that is merely "Given #1, …".
    """
    subquestion = _without_given(subquestion)
    if references(subquestion):
        return False
    asked = _content_words([part for part in _SENTENCE_END.split(question.strip()) if part][-1])
    words = _content_words(subquestion)
    return bool(words) and len(words & asked) >= _NEAR_COPY * len(words | asked)


def is_question(subquestion: str) -> bool:
    """Whether a subquestion asks for something a solver can find, rather than tells it what to do ("Set up …")."""
    words = {word.casefold() for word in _WORD.findall(subquestion)}
    return not _ALGEBRA.search(subquestion) and bool(words & _ASKING)


def is_well_formed(plan: Sequence[str]) -> bool:
    """Whether the decomposer's grammar allows the plan, and the parser gives it back as it is."""
    return all(map(_LINE.fullmatch, plan)) and read_plan(render_plan(plan)) == tuple(plan)


def read_plan(text: str) -> tuple[str, ...] | None:
    """Return the plan in a reply, empty where it says that none is needed; None where it is no plan."""
    with suppress(DecompositionError):
        return parse_plan(text)
    return None


def _without_given(subquestion: str) -> str:
    match = _GIVEN.fullmatch(subquestion)
    return capitalise(match[2]) if match else subquestion


def _without_second_thoughts(plan: Sequence[str]) -> list[str]:
    """Return the plan with each "Given #1, …" that asks what was asked before as the very same words.

    A worked solution may ask a thing again to correct it; a solver answers it once.
    """
    first: dict[str, str] = {}
    return [first.setdefault(_without_given(text).casefold(), text) for text in plan]


def _content_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS}
