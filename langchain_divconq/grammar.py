"""The GBNF of a decomposition: what llama.cpp may write when it decomposes.

Either the no-decomposition sentinel, or one to `max_subquestions` numbered questions, a line each:

    1. In which year was the bridge opened?
    2. Who was mayor in #1?

Every string of the grammar is read by `plans.parse_plan`. Every plan that `plans.render_plan` writes belongs to the
grammar if each subquestion keeps to the length limit, has its only "?" at the end, is more than a bare reference, and
has "#" only in references and where the question has it ("C#", "issue #1").
"""

from collections.abc import Sequence

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import MAX_SUBQUESTIONS

DEFAULT_CAP = 4
"""Most subquestions in a plan where nobody says: what the shipped students were taught."""

MAX_LENGTH = 160
"""Longest subquestion, in characters; a reference with what follows it counts once. Without a limit, a small model at a
high temperature may never end a line. Of 6,046 human subquestions (StrategyQA train) two are longer."""

MAX_TOKENS = 6 * MAX_LENGTH + 4
"""Most tokens a line can take, its number and line break included: a token holds a byte or more, a character takes up
to 4 bytes, and a reference with what follows it up to 6."""

# Printable characters but for "#" (only a reference may use it) and "?" (which ends a subquestion).
_ANY = r' -"$->@-~\u00a0-\U0010ffff'
_NOT_SPACE = r'!-"$->@-~\u00a1-\U0010ffff'
# What may follow a reference: "#1" and then "2" would read as "#12".
_NOT_DIGIT = r' -"$-/:->@-~\u00a0-\U0010ffff'

_MOST_HASHES = 16
_LONGEST_HASH = 40


def decomposition_grammar(
    max_subquestions: int = DEFAULT_CAP, *, allow_none: bool = True, hashes: Sequence[str] = ()
) -> str:
    """Return GBNF text for llama.cpp.

    Args:
        max_subquestions: Most subquestions in a plan, from 1 to 9.
        allow_none: Whether the model may say that no decomposition is needed.
        hashes: What may be written with a "#" that is no reference: those of the question and its context, with the
            letters and digits that follow each (see `words.users_hashes`). The first sixteen are taken.

    Raises:
        ConfigurationError: `max_subquestions` is out of range.
    """
    check_cap(max_subquestions)
    plan = ""
    for number in range(max_subquestions, 1, -1):
        plan = f' ("\\n" line{number}{plan})?'
    plan = "line1" + plan
    rules = [f"root ::= {'none | plan' if allow_none else 'plan'}"]
    if allow_none:
        rules.append(f'none ::= "{NO_DECOMPOSITION}"')
    rules.append(f"plan ::= {plan}")
    users = [mark for mark in hashes if len(mark) <= _LONGEST_HASH][:_MOST_HASHES]
    for number in range(1, max_subquestions + 1):
        rules += _line_rules(number, users)
    return "\n".join(rules) + "\n"


def check_cap(max_subquestions: int) -> int:
    """Return a cap as it is. Raises a ConfigurationError unless it is from 1 to `MAX_SUBQUESTIONS`."""
    if not 1 <= max_subquestions <= MAX_SUBQUESTIONS:
        raise ConfigurationError(
            f"max_subquestions is {max_subquestions}; it must be from 1 to {MAX_SUBQUESTIONS}. "
            'To solve without subquestions, set gate="never".'
        )
    return max_subquestions


def _line_rules(number: int, hashes: Sequence[str]) -> list[str]:
    """Return the rules of one line, which may refer to the lines before it and ends with its only question mark."""
    marks = [f'"{mark}"' for mark in hashes]
    if number > 1:
        marks.append(f'"#" [1-{number - 1}]')
    start, middle, end = f"[{_NOT_SPACE}]", f"[{_ANY}]", '"?"'
    for mark in marks:
        start += f" | {mark} [{_NOT_DIGIT}]"
        middle += f" | {mark} [{_NOT_DIGIT}]"
        end += f' | {mark} "?"'
    return [
        f'line{number} ::= "{number}. " start{number} middle{number}{{0,{MAX_LENGTH - 2}}} end{number}',
        f"start{number} ::= {start}",
        f"middle{number} ::= {middle}",
        f"end{number} ::= {end}",
    ]
