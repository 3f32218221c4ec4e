import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.errors import GrammarError
from langchain_divconq.llamacpp.engines.gbnf import check_grammar
from langchain_divconq.llamacpp.engines.json_schema import schema_grammar


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= ""',
        'root ::= "a" | b\nb ::= [^a-z\\n-]{1,3} . # a comment\n',
        'root ::= (\n  "a"\n  | "b"\n)+\n\nb-2 ::= "\\x41\\u00e9\\U0001F600\\t\\\\\\""',
        "root ::= [\\U00000000-\\U0010FFFF]*",
        'root ::= "a"{3} "b"{2,} "c"{0,4} "d"?',
        "# only\nroot ::= x?\r\nx ::= [é🙂]",
    ],
)
def test_a_grammar_that_llama_cpp_takes_passes(grammar: str) -> None:
    check_grammar(grammar)


@pytest.mark.parametrize(
    ("grammar", "fault"),
    [
        *(("", "no rule named 'root'"), ('foo ::= "a"', "no rule named 'root'")),
        ("root ::= a", "the rule 'a' is not defined, on line 1: 'root ::= a'"),
        ('root ::= x\n\nx ::= "a" y', "'y' is not defined, on line 3"),
        *(("root ::= (", r"expected '\)'"), ('root = "a"', "expected the name of a rule")),
        *(('root ::= "a" )', "expected the end of the rule"), ('::= "a"', "no part of a grammar")),
        ('root ::= "a" x ::= "b"', "expected the end of the rule"),
        ("root ::= *", "nothing before '\\*' to repeat"),
        *(('root ::= "a"{x}', "no part of a grammar"), ('root ::= "a', "ends within a quotation")),
        ('root ::= "b"\n\nx ::= <|im_end|>', "no part of a grammar.*on line 3: 'x ::= <.im_end.>'"),
        ('root ::= "a"{4,3}', "fewer than the least"),
        ('root ::= "a"{9999}', "more than 2000 repetitions"),
        ('root ::= "\\q"', "unknown escape"),
        ('root ::= "\\u0000"', r"U\+0000 is not a character"),
        ('root ::= "\\uD800"', r"U\+D800 is not a character"),
        ('root ::= "\\UFFFFFFFF"', r"U\+FFFFFFFF is not a character"),
        *(('root ::= "a\0b"', r"U\+0000 is not a character"), ("root ::= []", "no character matches")),
        *(("root ::= [\\x00]", "no character matches"), ("root ::= [z-a]", "no character matches")),
        ("root ::= [^\\x00-\\U0010FFFF]", "no character matches"),
        ("root ::= " + "(" * 5000, "nested more than"),
    ],
)
def test_a_grammar_that_would_end_the_process_or_hold_nothing_is_refused_in_words(grammar: str, fault: str) -> None:
    with pytest.raises(GrammarError, match=fault):
        check_grammar(grammar)


@given(st.text(alphabet='root:= "ab[]()|*+?{}1,2\\^-#\n.x', max_size=40))
def test_no_text_makes_the_check_raise_anything_else(text: str) -> None:
    for grammar in (text, "root ::= " + text):
        with contextlib.suppress(GrammarError):
            check_grammar(grammar)


FEW = st.integers(0, 4)
SCALARS = st.sampled_from([{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")])
SCHEMAS = st.recursive(
    st.one_of(
        SCALARS,
        st.builds(
            lambda values: {"enum": values}, st.lists(st.text(max_size=4) | st.integers(), min_size=1, max_size=3)
        ),
        st.builds(lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more}, FEW, FEW),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda item, least, more: {"type": "array", "items": item, "minItems": least, "maxItems": least + more},
            *(inner, FEW, FEW),
        ),
        st.builds(
            lambda known, needed: {"type": "object", "properties": known, "required": sorted(needed & set(known))},
            st.dictionaries(st.text(max_size=4), inner, max_size=4),
            st.sets(st.text(max_size=4), max_size=3),
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_every_schema_becomes_a_grammar_that_llama_cpp_takes(schema: dict[str, Any]) -> None:
    assert_checks(schema)


def assert_checks(schema: Any) -> str:
    grammar = schema_grammar(json.dumps(schema))
    try:
        check_grammar(grammar)
    except GrammarError as error:
        if "U+0000" not in str(error):  # a constant with NUL in it cannot be written
            raise
    return grammar


def test_references_are_followed_even_to_themselves() -> None:
    tree = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}}
    grammar = assert_checks({"$ref": "#/$defs/tree", "$defs": {"tree": tree}})
    assert "root ::= ref-0" in grammar


def test_all_of_merges_objects() -> None:
    grammar = assert_checks(
        {
            "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "null"}}}],
            "$defs": {"a": {"properties": {"x": {}}}},
        }
    )
    assert '\\"x\\"' in grammar
    assert '\\"y\\"' in grammar


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        *(("nope", "not JSON"), ('{"type": "foo"}', "no JSON type 'foo'")),
        ('{"$ref": "#/nope"}', "#/nope, which is not in it"),
        ('{"$ref": "http://elsewhere"}', "Only references within the schema"),
        *(("[]", "is an object or true"), ("false", "is an object or true"), ('{"enum": []}', "allows no value")),
        ('{"enum": 3}', "enum takes a list"),
        ('{"type": "object", "properties": 3}', "properties of a schema are an object"),
        ('{"type": "array", "minItems": 3, "maxItems": 2}', r"maxItems \(2\) is less"),
        ('{"type": "string", "minLength": 3, "maxLength": 2}', r"maxLength \(2\) is less"),
        ('{"type": "string", "maxLength": -1}', "maxLength is a whole number from 0, not -1"),
        ('{"type": "array", "minItems": "many"}', "minItems is a whole number from 0"),
        ('{"items": ' * 3000 + "{}" + "}" * 3000, "nested too deeply|not JSON"),
    ],
)
def test_a_schema_that_cannot_be_expressed_is_refused_in_words(schema: str, fault: str) -> None:
    with pytest.raises(GrammarError, match=fault):
        schema_grammar(schema)


def test_counts_too_large_for_a_grammar_are_left_to_the_parser() -> None:
    free = schema_grammar('{"type": "string"}')
    assert schema_grammar('{"type": "string", "maxLength": 5000}').splitlines()[-1] == r'root ::= "\"" char{0,} "\""'
    assert schema_grammar('{"type": "string", "minLength": 3, "maxLength": 5000}').endswith('char{3,} "\\""\n')
    items = '{"type": "array", "items": {"type": "string"}%s}'
    assert schema_grammar(items % ', "maxItems": 90000') == schema_grammar(items % "")
    check_grammar(free)
