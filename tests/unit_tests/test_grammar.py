"""The grammar, read as a regular expression: what it generates parses, and what may be rendered belongs to it."""

import re
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
ABOVE_ASCII = st.characters(min_codepoint=0xA1, exclude_categories=["Cs"])
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{\d+,\d+\}|[a-z0-9]+|[|()?])')


def pattern(name: str, rules: dict[str, str]) -> str:
    """A rule as a regular expression: escapes, characters and repetitions read alike, and no rule of ours calls itself.

    In a quotation all but its escapes stands for itself.
    """
    parts = []
    for token in _TOKEN.findall(rules[name]):
        if token[0] == '"':
            text = re.sub(r"\\.|(.)", lambda found: re.escape(found[1]) if found[1] else found[0], token[1:-1])
            parts.append(f"(?:{text})")
        else:
            parts.append(f"(?:{pattern(token, rules)})" if token in rules else "(?:" if token == "(" else token)
    return "".join(parts)


@lru_cache
def matcher(max_subquestions: int, allow_none: bool = True) -> re.Pattern[str]:
    lines = decomposition_grammar(max_subquestions, allow_none=allow_none).splitlines()
    return re.compile(pattern("root", {name: body for name, _, body in (line.partition(" ::= ") for line in lines)}))


@lru_cache
def generated(max_subquestions: int, allow_none: bool) -> st.SearchStrategy[str]:
    """Strings of the grammar. Hypothesis would list every character above ASCII: `widened` puts them in."""
    narrow = matcher(max_subquestions, allow_none).pattern.replace(r"-\U0010ffff", "")
    return st.from_regex(narrow, fullmatch=True)


def widened(text: str, data: st.DataObject) -> str:
    """Put any characters in the places of some capitals: they stand in texts alone."""
    return re.sub("[A-M]", lambda _: data.draw(ABOVE_ASCII), text)


def accepts(text: str, max_subquestions: int = 3, *, allow_none: bool = True) -> bool:
    return matcher(max_subquestions, allow_none).fullmatch(text) is not None


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
    text = widened(data.draw(generated(cap, allow_none)), data)
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
