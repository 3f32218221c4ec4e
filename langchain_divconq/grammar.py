"""The GBNF of a decomposition: what llama.cpp may write when it decomposes.

Either the no-decomposition sentinel, or one to `max_subquestions` numbered questions, a line each:

    1. In which year was the bridge opened?
    2. Who was mayor in #1?

Every string of the grammar is read by `parsing.parse_plan`. Every plan that `parsing.render_plan` writes belongs to the
grammar if each subquestion keeps to the length limit, has its only "?" at the end and "#" only in references, and is
more than a bare reference.
"""

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import MAX_SUBQUESTIONS

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


def decomposition_grammar(max_subquestions: int = 3, *, allow_none: bool = True) -> str:
    """Return GBNF text for llama.cpp.

    Args:
        max_subquestions: Most subquestions in a plan, from 1 to 9.
        allow_none: Whether the model may say that no decomposition is needed.

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
    for number in range(1, max_subquestions + 1):
        rules += _line_rules(number)
    return "\n".join(rules) + "\n"


def check_cap(max_subquestions: int) -> None:
    """Raise ConfigurationError unless the cap is from 1 to `MAX_SUBQUESTIONS`."""
    if not 1 <= max_subquestions <= MAX_SUBQUESTIONS:
        raise ConfigurationError(
            f"max_subquestions is {max_subquestions}; it must be from 1 to {MAX_SUBQUESTIONS}. "
            'To solve without subquestions, set gate="never".'
        )


def _line_rules(number: int) -> list[str]:
    """Return the rules of one line, which may refer to the lines before it and ends with its only question mark."""
    reference = f'"#" [1-{number - 1}]'
    start, middle, end = f"[{_NOT_SPACE}]", f"[{_ANY}]", '"?"'
    if number > 1:
        start += f" | {reference} [{_NOT_DIGIT}]"
        middle += f" | {reference} [{_NOT_DIGIT}]"
        end += f' | {reference} "?"'
    return [
        f'line{number} ::= "{number}. " start{number} middle{number}{{0,{MAX_LENGTH - 2}}} end{number}',
        f"start{number} ::= {start}",
        f"middle{number} ::= {middle}",
        f"end{number} ::= {end}",
    ]
