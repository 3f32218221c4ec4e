"""Grammars, checked for what llama.cpp does not survive, or would print.

Some grammars end the process or hang it (tried on both engines): a character U+0000 or beyond Unicode, a class that no
character matches, a token (`<|im_end|>`), groups nested thousands deep, repetitions whose least is above their most.
What is no grammar at all llama.cpp prints to standard error, whoever wrote it. What else it refuses is left to it: a
rule that begins with itself, too many repetitions within repetitions.
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
    """Raise a GrammarError, with the line, for a grammar that would end the process, hang it, or hold nothing."""
    at = depth = 0
    before = "end"  # the kind of token before, or the end of a rule
    rules: set[str] = set()
    uses: dict[str, int] = {}
    while at < len(grammar):
        token = _TOKEN.match(grammar, at)
        try:
            if token is None:
                raise ValueError("this is no part of a grammar, or it ends within a quotation or a class")
            kind = token["mark"] or str(token.lastgroup)
            depth += (kind == "(") - (kind == ")")
            if kind != "space":
                _check(token, kind, before, depth)
                before = kind
            elif not depth and before not in ("rule", "|") and {"\r", "\n"} & {*token[0]}:
                before = "end"
        except ValueError as fault:
            raise _error(grammar, at, str(fault)) from None
        if kind == "rule":
            rules.add(token["rule"])
        elif kind == "name":
            uses.setdefault(token["name"], at)
        at = token.end()
    if depth:
        raise _error(grammar, at, "expected ')'")
    for name, place in uses.items():
        if name not in rules:
            raise _error(grammar, place, f"the rule {name!r} is not defined")
    if "root" not in rules:
        raise _error(grammar, 0, "there is no rule named 'root'")


def _check(token: re.Match[str], kind: str, before: str, depth: int) -> None:
    """Raise a ValueError that says what is wrong with a token behind another of the kind `before`."""
    if (kind == "rule") != (before == "end") or depth < 0:
        raise ValueError("expected the name of a rule and '::='" if before == "end" else "expected the end of the rule")
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if kind == "literal" and 0 in _characters(token[0][1:-1]):
        raise ValueError("U+0000 is not a character that a model can write")
    if kind == "kind" and not _matches_any(token[0][1:-1]):
        raise ValueError("no character matches this class")
    if kind == "many":
        if before in ("rule", "(", "|"):
            raise ValueError(f"there is nothing before {token[0]!r} to repeat")
        least, most = int(token["least"] or 0), int(token["most"] or token["least"] or 0)
        if most < least:
            raise ValueError("the most repetitions are fewer than the least")
        if most > _MOST_REPETITIONS:
            raise ValueError(f"more than {_MOST_REPETITIONS} repetitions")


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
