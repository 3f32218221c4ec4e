"""Grammars, checked for what llama.cpp does not survive, or would print.

Some grammars end the process or hang it (tried on both engines): a character U+0000 or beyond Unicode, a class that no
character matches, a token (`<|im_end|>`), groups nested thousands deep, repetitions whose least is above their most.
What is no grammar at all llama.cpp prints to standard error, whoever wrote it. What it refuses in silence, such as a
rule that begins with itself, is left to it.
"""

import re
from functools import lru_cache

from langchain_divconq.errors import GrammarError

# All that a grammar may be made of.
_TOKEN = re.compile(
    r'(?P<literal>"(?:[^"\\]|\\.)*")|(?P<kind>\[(?:[^\]\\]|\\.)*\])|(?P<rule>[A-Za-z0-9-]+)[ \t]*::='
    r"|(?P<name>[A-Za-z0-9-]+)|(?P<many>[*+?]|\{\s*(?P<least>\d{1,9})\s*(?:,\s*(?P<most>\d{0,9})\s*)?\})"
    r"|(?P<mark>[.()|])|(?P<space>[ \t\r\n]+|#[^\r\n]*)",
    re.DOTALL,
)
_CHARACTER = re.compile(
    r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([trn\\"\[\]]))|([^\\])', re.DOTALL
)
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_MOST_REPETITIONS = 2000  # llama.cpp's MAX_REPETITION_THRESHOLD
_DEEPEST = 100
_LAST = 0x10FFFF


@lru_cache(maxsize=64)
def check_grammar(grammar: str) -> None:
    """Refuse a GBNF grammar that would end the process, hang it, or hold nothing.

    Raises:
        GrammarError: What is wrong, on which line.
    """
    reader = _Reader()
    at = 0
    while at < len(grammar):
        token = _TOKEN.match(grammar, at)
        if token is None:
            raise _error(grammar, at, "this is no part of a grammar, or it ends within a quotation or a class")
        try:
            reader.take(token)
        except ValueError as fault:
            raise _error(grammar, at, str(fault)) from None
        at = token.end()
    if reader.groups:
        raise _error(grammar, at, "expected ')'")
    for name, place in reader.uses.items():
        if name not in reader.rules:
            raise _error(grammar, place, f"the rule {name!r} is not defined")
    if "root" not in reader.rules:
        raise _error(grammar, 0, "there is no rule named 'root'")


class _Reader:
    """Takes a grammar's tokens one after another; a ValueError says what is wrong with one."""

    def __init__(self) -> None:
        self.rules: set[str] = set()
        self.uses: dict[str, int] = {}
        self.groups: list[int] = []  # for each that is open, what `made` was before it
        self.in_rule = self.goes_on = False  # goes_on: at a line's end
        self.made = 0  # rules that llama.cpp makes of names, groups and repetitions
        self.before: int | None = None  # what `made` was before the item that may be repeated; None: there is none

    def take(self, token: re.Match[str]) -> None:
        if token["space"] is not None:
            if not (self.goes_on or self.groups) and token[0].strip(" \t")[:1] in ("\r", "\n"):
                self.in_rule = False
            return
        if (token["rule"] is None) != self.in_rule:
            raise ValueError(
                "expected the end of the rule" if self.in_rule else "expected the name of a rule and '::='"
            )
        self.goes_on = token["rule"] is not None or token["mark"] == "|"
        if token["rule"] is not None:
            self.rules.add(token["rule"])
            self.in_rule, self.before = True, None
        elif token["many"]:
            self.repeat(token)
        elif token["mark"] == ")":
            if not self.groups:
                raise ValueError("expected the end of the rule")
            self.before = self.groups.pop()
        else:
            self.item(token)

    def item(self, token: re.Match[str]) -> None:
        self.before = self.made
        if token["mark"] == "(":
            self.groups.append(self.made)
            self.made += 1
            if len(self.groups) > _DEEPEST:
                raise ValueError(f"it is nested more than {_DEEPEST} deep")
        elif name := token["name"]:
            self.made += name not in self.uses and name not in self.rules
            self.uses.setdefault(name, token.start())
        elif token["literal"] and 0 in _characters(token["literal"][1:-1]):
            raise ValueError("U+0000 is not a character that a model can write")
        elif token["kind"] and not _matches_any(token["kind"][1:-1]):
            raise ValueError("no character matches this class")
        if token["mark"] in ("(", "|") or token["literal"] == '""':
            self.before = None

    def repeat(self, token: re.Match[str]) -> None:
        if self.before is None:
            raise ValueError(f"there is nothing before {token[0]!r} to repeat")
        if token["least"] is None:
            self.made += 1
            return
        least, most = int(token["least"]), int(token["most"] or token["least"])
        if most < least:
            raise ValueError("the most repetitions are fewer than the least")
        if max(1, self.made - self.before) * most > _MOST_REPETITIONS:
            raise ValueError(f"more than {_MOST_REPETITIONS} repetitions, or rules made of them")
        self.made += 1 if token["most"] == "" else most - least


def _matches_any(text: str) -> bool:
    """Return whether a class matches a character besides U+0000."""
    is_inverted = text.startswith("^")
    found = _characters(text[is_inverted:])
    ranges, at = [], 0
    while at < len(found):
        is_range = found[at + 1 : at + 2] == [ord("-")] and at + 2 < len(found)
        ranges.append((found[at], found[at + 2] if is_range else found[at]))
        at += 3 if is_range else 1
    if not is_inverted:
        return any(last >= max(first, 1) for first, last in ranges)
    reach = 0  # how far, from the first character up, the ranges leave no gap
    for first, last in sorted(ranges):
        reach = max(reach, last) if first <= reach + 1 else reach
    return reach < _LAST


def _characters(text: str) -> list[int]:
    found, at = [], 0
    while at < len(text):
        match = _CHARACTER.match(text, at)
        if match is None:
            raise ValueError("unknown escape")
        code = match[1] or match[2] or match[3]
        value = int(code, 16) if code else ord(_ESCAPED.get(match[4], match[4] or match[5]))
        if 0xD800 <= value <= 0xDFFF or value > _LAST:
            raise ValueError(f"U+{value:04X} is not a character that a model can write")
        found.append(value)
        at = match.end()
    return found


def _error(grammar: str, place: int, fault: str) -> GrammarError:
    number = grammar.count("\n", 0, place)
    line = grammar.split("\n")[number]
    return GrammarError(f"The grammar cannot be used: {fault}, on line {number + 1}: {line.strip()[:200]!r}.")
