"""The grammar, read by a small GBNF interpreter: what it generates parses, and what may be rendered belongs to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.errors import ConfigurationError
from langchain_divconq.grammar import MAX_LENGTH, check_cap, decomposition_grammar
from langchain_divconq.llamacpp.engines.gbnf import check_grammar
from langchain_divconq.plans import parse_plan, render_plan
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import MAX_SUBQUESTIONS, references

CAPS = range(1, MAX_SUBQUESTIONS + 1)
_TOKEN = re.compile(r'\s*(::=|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{\d+,\d+\}|[a-z0-9]+|[|()?])')
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8})|(.))|(.)", re.DOTALL)


@dataclass(frozen=True)
class Literal:
    text: str


@dataclass(frozen=True)
class Characters:
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rule:
    name: str


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    part: Node
    least: int
    most: int


Node = Literal | Characters | Rule | Sequence | Choice | Repeat


def unescape(text: str) -> str:
    """What stands between quotes or brackets, escapes resolved."""

    def character(match: re.Match[str]) -> str:
        short, long, other, plain = match.groups()
        if short or long:
            return chr(int(short or long, 16))
        return {"n": "\n"}.get(other, other) if other else str(plain)

    return _ESCAPE.sub(character, text)


class Reader:
    """Reads one line of GBNF."""

    def __init__(self, line: str) -> None:
        self.tokens = _TOKEN.findall(line)
        assert self.tokens[1] == "::=", line
        self.at = 2

    def next(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def choice(self) -> Node:
        options = [self.sequence()]
        while self.next() == "|":
            self.at += 1
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while (token := self.next()) not in (None, "|", ")"):
            assert token is not None
            self.at += 1
            if token == "?":
                parts.append(Repeat(parts.pop(), 0, 1))
            elif token[0] == "{":
                least, most = map(int, token[1:-1].split(","))
                parts.append(Repeat(parts.pop(), least, most))
            elif token == "(":
                parts.append(self.choice())
                assert self.next() == ")"
                self.at += 1
            elif token[0] == '"':
                parts.append(Literal(unescape(token[1:-1])))
            elif token[0] == "[":
                ranges = re.findall(r"(.)-(.)|(.)", unescape(token[1:-1]), re.DOTALL)
                parts.append(Characters(tuple((ord(low or one), ord(high or one)) for low, high, one in ranges)))
            else:
                parts.append(Rule(token))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


@lru_cache
def rules(max_subquestions: int, allow_none: bool = True) -> dict[str, Node]:
    lines = decomposition_grammar(max_subquestions, allow_none=allow_none).splitlines()
    return {line.split()[0]: Reader(line).choice() for line in lines}


def pattern(node: Node, named: dict[str, Node]) -> str:
    """The node as a regular expression: no rule of ours calls itself."""
    if isinstance(node, Literal):
        return re.escape(node.text)
    if isinstance(node, Characters):
        return "[" + "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in node.ranges) + "]"
    if isinstance(node, Rule):
        return pattern(named[node.name], named)
    if isinstance(node, Sequence):
        return "".join(pattern(part, named) for part in node.parts)
    if isinstance(node, Choice):
        return "(?:" + "|".join(pattern(option, named) for option in node.options) + ")"
    return f"(?:{pattern(node.part, named)}){{{node.least},{node.most}}}"


@lru_cache
def matcher(max_subquestions: int, allow_none: bool = True) -> re.Pattern[str]:
    named = rules(max_subquestions, allow_none)
    return re.compile(pattern(named["root"], named))


def accepts(text: str, max_subquestions: int = 3, *, allow_none: bool = True) -> bool:
    return matcher(max_subquestions, allow_none).fullmatch(text) is not None


def strings(node: Node, named: dict[str, Node]) -> st.SearchStrategy[str]:
    """Strings that the node generates; repetitions are mostly short."""
    if isinstance(node, Literal):
        return st.just(node.text)
    if isinstance(node, Characters):
        alphabets = [
            st.characters(min_codepoint=low, max_codepoint=high, exclude_categories=["Cs"]) for low, high in node.ranges
        ]
        return st.one_of(*alphabets)
    if isinstance(node, Rule):
        return strings(named[node.name], named)
    if isinstance(node, Sequence):
        return st.tuples(*(strings(part, named) for part in node.parts)).map("".join)
    if isinstance(node, Choice):
        return st.one_of(*(strings(option, named) for option in node.options))
    return st.lists(strings(node.part, named), min_size=node.least, max_size=min(node.most, 30)).map("".join)


@lru_cache
def generated(max_subquestions: int, allow_none: bool = True) -> st.SearchStrategy[str]:
    named = rules(max_subquestions, allow_none)
    return strings(named["root"], named)


@st.composite
def plans_within_limits(draw: st.DrawFn, cap: int) -> tuple[str, ...]:
    """Plans as the grammar means them, written without looking at it."""
    alphabet = st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs", "Z"], exclude_characters="#?*_\xad")
    plan = []
    for number in range(1, draw(st.integers(0, cap)) + 1):
        words = draw(st.lists(st.text(alphabet, min_size=1, max_size=8), min_size=1, max_size=12))
        if number > 1:
            for earlier in draw(st.lists(st.integers(1, number - 1), max_size=2)):
                words.insert(draw(st.integers(0, len(words))), f"#{earlier}")
        plan.append(" ".join(words) + "?")
    return tuple(plan)


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("allow_none", [True, False])
def test_the_grammar_is_one_that_the_engines_take(cap: int, allow_none: bool) -> None:
    check_grammar(decomposition_grammar(cap, allow_none=allow_none))


@pytest.mark.parametrize("cap", [-1, 0, 10, 100])
def test_a_cap_out_of_range_is_refused(cap: int) -> None:
    with pytest.raises(ConfigurationError, match=f'max_subquestions is {cap}; it must be from 1 to 9.*gate="never"'):
        decomposition_grammar(cap)
    with pytest.raises(ConfigurationError, match="from 1 to 9"):
        check_cap(cap)


@given(data=st.data(), cap=st.integers(1, MAX_SUBQUESTIONS), allow_none=st.booleans())
def test_every_string_of_the_grammar_parses_within_the_cap_and_refers_back(
    data: st.DataObject, cap: int, allow_none: bool
) -> None:
    text = data.draw(generated(cap, allow_none))
    assert accepts(text, cap, allow_none=allow_none)
    plan = parse_plan(text)
    assert len(plan) <= cap
    assert (plan == ()) == (text == NO_DECOMPOSITION)
    for number, subquestion in enumerate(plan, start=1):
        assert all(1 <= reference < number for reference in references(subquestion))
        assert subquestion.endswith("?")
        assert len(subquestion.splitlines()) == 1
    assert parse_plan(render_plan(plan)) == plan


@given(data=st.data(), cap=st.integers(1, MAX_SUBQUESTIONS))
def test_every_rendered_plan_within_the_limits_belongs_to_the_grammar(data: st.DataObject, cap: int) -> None:
    plan = data.draw(plans_within_limits(cap))
    assert accepts(render_plan(plan), cap)
    assert accepts(render_plan(plan), cap, allow_none=False) == bool(plan)
    assert parse_plan(render_plan(plan)) == plan


@pytest.mark.parametrize(
    "plan",
    [
        ("What does <think> mean?",),
        ("Is <think> closed by </think>?", "What about <think>#1</think>2 pens?"),
        ("*?",),
        ("1. How many?", "2) #1 of what?"),
        ("Answer: what is asked?", 'Who wrote "Emma"?'),
        ("一共有多少支钢笔?",),
        ("a" * (MAX_LENGTH - 1) + "?",),
        ("a?", "#1 " * 119 + "a?"),
        tuple(f"What is part {number}?" for number in range(1, 10)),
    ],
    ids=lambda plan: plan[0][:30],
)
def test_plans_at_the_edges_belong_to_the_grammar_and_parse(plan: tuple[str, ...]) -> None:
    text = render_plan(plan)
    assert accepts(text, max(3, len(plan)))
    assert len(parse_plan(text)) == len(plan)


FIRST = "1. How many pens are in a box?"


@pytest.mark.parametrize(
    "text",
    [
        *("", "1.", "1. ?", "1.  How many?", "1. How many", "1. How many? Why?", "2. How many?", "- How many?"),
        *("Sure! 1. How many?", "1. What is #1?", f"{FIRST}\n2. What is #2?", f"{FIRST}\n2. What is #3 of it?"),
        f"{FIRST}\n2. What is #12?",
        f"{FIRST}\n2. What is #1" + "0" * 10 + " of it?",
        *(f"{FIRST}\n2. What is #0?", f"{FIRST}\n2. What is # 1?", f"{FIRST}\n2. What is #1#1?"),
        *(f"{FIRST}\n2. What is #1", f"{FIRST}\n2. #1?", f"{FIRST}\n3. What is #1?", f"{FIRST}\n\n2. What is #1?"),
        *(f"{FIRST}\n", f"{FIRST} "),
        f"{FIRST}\n2. Why?\n3. When?\n4. Where?",
        *("1. How\tmany?", "1. How\x00many?", "1. How\x85many?", "1. \xa0How many?", "1. " + "a" * MAX_LENGTH + "?"),
        *("no decomposition needed.", "No decomposition needed", "No decomposition needed.\n"),
        *("No Decomposition Needed.", f"{NO_DECOMPOSITION}\n{FIRST}", f"{FIRST}\n{NO_DECOMPOSITION}"),
    ],
)
def test_what_is_no_plan_does_not_belong_to_the_grammar(text: str) -> None:
    assert not accepts(text)


def test_the_sentinel_belongs_to_the_grammar_only_where_it_is_allowed() -> None:
    assert accepts(NO_DECOMPOSITION)
    assert not accepts(NO_DECOMPOSITION, allow_none=False)


@pytest.mark.parametrize("cap", CAPS)
def test_a_plan_may_have_as_many_lines_as_the_cap_and_no_more(cap: int) -> None:
    plan = [f"What is part {number}?" for number in range(1, MAX_SUBQUESTIONS + 1)]
    assert [accepts(render_plan(plan[:lines]), cap) for lines in CAPS] == [lines <= cap for lines in CAPS]
