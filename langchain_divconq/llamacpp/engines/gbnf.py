"""Grammars, checked before llama.cpp sees them.

llama.cpp writes its complaints about a grammar to stderr, and some grammars that it accepts end the whole process when
they are used (a NUL character, a class that nothing matches). So this parser follows

llama.cpp's own (src/llama-grammar.cpp), says what is wrong and where, and refuses those too.
"""

import re
from functools import lru_cache

from langchain_divconq.errors import GrammarError

_NAME = re.compile(r"[A-Za-z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_CHARACTER = re.compile(
    r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([trn\\"\[\]]))|([^\\])', re.DOTALL
)
_REPEAT = re.compile(r"\{[ \t\r\n]*(\d+)[ \t\r\n]*(?:,[ \t\r\n]*(\d*)[ \t\r\n]*)?\}")
_MOST_REPETITIONS = 2000  # llama.cpp's MAX_REPETITION_THRESHOLD
_EMPTY = '""'  # no name of a rule
_DEEPEST = 100  # nesting; llama.cpp recurses without a bound


@lru_cache(maxsize=64)
def check_grammar(grammar: str) -> None:
    """Refuse a GBNF grammar that llama.cpp would refuse, or that would end the process.

    Raises:
        GrammarError: What is wrong, on which line.
    """
    _Parser(grammar).check()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.rules: dict[str, list[list[tuple[str, bool]]]] = {}  # name: alternatives of (rule, may be empty)
        self.uses: dict[str, int] = {}
        self.loops: list[tuple[str, bool, int]] = []  # what is repeated without end, as above, and where
        self.groups = 0
        self.made = 0  # rules that llama.cpp makes of groups and repetitions

    def check(self) -> None:
        self.skip(lines=True)
        while self.at < len(self.text):
            name = self.name()
            self.skip(lines=False)
            self.expect("::=")
            self.skip(lines=True)
            self.rules[name] = self.alternatives(depth=0)
            if self.at < len(self.text) and self.text[self.at] not in "\r\n":
                raise self.error("expected the end of the rule")
            self.skip(lines=True)
        for name, place in self.uses.items():
            if name not in self.rules:
                self.at = place
                raise self.error(f"the rule {name!r} is not defined")
        if "root" not in self.rules:
            self.at = 0
            raise self.error("there is no rule named 'root'")
        self.check_recursion()

    def alternatives(self, depth: int) -> list[list[tuple[str, bool]]]:
        if depth > _DEEPEST:
            raise self.error(f"it is nested more than {_DEEPEST} deep")
        found = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            self.skip(lines=True)
            found.append(self.sequence(depth))
        return found

    def sequence(self, depth: int) -> list[tuple[str, bool]]:
        items: list[tuple[str, bool]] = []
        repeatable = False
        made = self.made
        while (mark := self.peek()) != "":
            if mark in "*+?{":
                if not repeatable:
                    raise self.error(f"there is nothing before {mark!r} to repeat")
                items[-1] = self.repeated(items[-1], max(1, self.made - made))
            else:
                made = self.made
                name = self.item(mark, depth)
                if name is None:
                    break
                # What an empty literal leaves is nothing, to repeat neither.
                repeatable = name != _EMPTY
                items += [(name, False)] if repeatable else []
            self.skip(lines=depth > 0)
        return items

    def item(self, mark: str, depth: int) -> str | None:
        """Read what a sequence is made of, up to what repeats it.

        Returns:
            The name of a rule or group; "": characters; `_EMPTY`: a literal of none; None: no item begins here.
        """
        if mark == '"':
            return "" if self.literal() else _EMPTY
        if mark == "[":
            self.character_class()
            return ""
        if mark == ".":
            self.at += 1
            return ""
        if mark == "(":
            return self.group(depth)
        if not _NAME.match(mark):
            return None
        place = self.at
        name = self.name()
        self.made += name not in self.uses and name not in self.rules
        self.uses.setdefault(name, place)
        return name

    def group(self, depth: int) -> str:
        self.at += 1
        self.skip(lines=True)
        self.groups += 1
        self.made += 1
        group = f"({self.groups}"
        self.rules[group] = self.alternatives(depth + 1)
        self.expect(")")
        return group

    def repeated(self, item: tuple[str, bool], rules: int) -> tuple[str, bool]:
        """Read what repeats an item that takes so many rules; return the item, as it may then be empty."""
        place = self.at
        optional, endless = self.repetition(rules)
        if endless:
            self.loops.append((*item, place))
        return item[0], item[1] or optional

    def literal(self) -> bool:
        self.at += 1
        empty = True
        while self.peek() != '"':
            if self.character() == 0:
                raise self.error("U+0000 is not a character that a model can write")
            empty = False
        self.at += 1
        return not empty

    def character_class(self) -> None:
        start = self.at
        self.at += 1
        inverted = self.peek() == "^"
        self.at += inverted
        ranges = []
        while self.peek() != "]":
            first = last = self.character()
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                last = self.character()
            ranges += [(first, last)] if last > 0 else []
        self.at += 1
        reach = 0  # how far, from the first character up, the ranges leave no gap
        for first, last in sorted(ranges):
            reach = max(reach, last) if first <= reach + 1 else reach
        if (not ranges and not inverted) or (inverted and reach >= 0x10FFFF):
            self.at = start
            raise self.error("no character matches this class")

    def character(self) -> int:
        match = _CHARACTER.match(self.text, self.at)
        if match is None:
            raise self.error("unknown escape" if self.peek() else "it ends within a quotation or a class")
        self.at = match.end()
        code = match[1] or match[2] or match[3]
        plain = {"t": "\t", "r": "\r", "n": "\n"}.get(match[4], match[4] or match[5])
        value = int(code, 16) if code else ord(plain)
        if 0xD800 <= value <= 0xDFFF or value > 0x10FFFF:
            raise self.error(f"U+{value:04X} is not a character that a model can write")
        return value

    def repetition(self, rules: int) -> tuple[bool, bool]:
        """Read *, +, ? or {m,n} after what takes so many rules; return if it allows none, and if it has no end."""
        mark = self.text[self.at]
        if mark != "{":
            self.at += 1
            self.made += 1
            return mark != "+", mark != "?"
        match = _REPEAT.match(self.text, self.at)
        if match is None:
            raise self.error("expected {m}, {m,} or {m,n}")
        least, most = int(match[1]), int(match[2] or match[1])
        if least > _MOST_REPETITIONS or most > _MOST_REPETITIONS:
            raise self.error(f"more than {_MOST_REPETITIONS} repetitions")
        if most < least:
            raise self.error("the most repetitions are fewer than the least")
        if rules * max(least, most) > _MOST_REPETITIONS:
            raise self.error(f"repetitions within repetitions make more than {_MOST_REPETITIONS} rules")
        self.made += most - least if match[2] != "" else 1
        self.at = match.end()
        return least == 0, match[2] == ""

    def check_recursion(self) -> None:
        """Refuse a rule that can begin with itself: llama.cpp would expand it for ever."""
        empty: set[str] = set()
        before = -1
        while before != len(empty):
            before = len(empty)
            empty |= {
                name
                for name, choices in self.rules.items()
                if any(all(skip or item in empty for item, skip in choice) for choice in choices)
            }
        for item, skip, place in self.loops:
            if skip or item in empty:
                self.at = place
                raise self.error("something that may be empty is repeated without end")
        for start in self.rules:
            todo, seen = [start], set[str]()
            while todo:
                for choice in self.rules[todo.pop()]:
                    for item, skip in choice:
                        if item == start:
                            self.at = max(self.text.find(start), 0)
                            raise self.error(f"the rule {start!r} begins with itself")
                        if item and item not in seen:
                            seen.add(item)
                            todo.append(item)
                        if not (skip or item in empty):
                            break

    def name(self) -> str:
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise self.error("expected the name of a rule")
        self.at = match.end()
        return match[0]

    def expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise self.error(f"expected {mark!r}")
        self.at += len(mark)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip(self, *, lines: bool) -> None:
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self.text, self.at)
        self.at = match.end() if match else self.at

    def error(self, fault: str) -> GrammarError:
        number = self.text.count("\n", 0, self.at)
        line = (self.text.splitlines() or [""])[min(number, max(len(self.text.splitlines()) - 1, 0))]
        return GrammarError(f"The grammar cannot be used: {fault}, on line {number + 1}: {line.strip()[:200]!r}.")
