"""The library's docstrings: what is inside, an example for each public class, a description of each field."""

import ast
import inspect
import re
import textwrap
from typing import Any

import pytest
from pydantic import BaseModel

import langchain_divconq
from langchain_divconq import agents, retrieval
from tests.repository import ROOT, python_files

MODULES = python_files("langchain_divconq")
CLASSES = [
    found
    for module, names in (
        (langchain_divconq, langchain_divconq.__all__),
        (agents, agents.__all__),
        (retrieval, ["BM25"]),
    )
    for name in names
    if inspect.isclass(found := getattr(module, name)) and not issubclass(found, BaseException)
]
MODELS = [found for found in CLASSES if issubclass(found, BaseModel)]
_RIDDLE = re.compile(r"(?:What|Who|Whose|Whether|Which|Where|How)\b")
_EXAMPLE = re.compile(r"^\s*Example:\n\s*```python\n(.*?)^\s*```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_docstring_says_what_is_inside(path: Any) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not _RIDDLE.match(ast.get_docstring(tree) or ""), "A module's docstring says what is in it."
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert not (ast.get_docstring(node) or "").startswith("Attributes:"), node.name


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_a_public_class_has_an_example_that_compiles(found: type) -> None:
    match = _EXAMPLE.search(found.__doc__ or "")
    assert match is not None, f"{found.__name__} has no example in its docstring."
    compile(textwrap.dedent(match[1]), found.__name__, "exec")


@pytest.mark.parametrize("found", MODELS, ids=lambda found: found.__name__)
def test_each_field_of_a_public_model_is_described_where_it_is_declared(found: type[BaseModel]) -> None:
    ours = {
        name
        for base in found.__mro__
        if base.__module__.startswith("langchain_divconq")
        for name in base.__annotations__
    }
    fixed = {"name", "description", "args_schema", "response_format", "handle_tool_error"}  # a tool's, set by its class
    fields = {name: field for name, field in found.model_fields.items() if name in ours - fixed}
    assert [name for name, field in fields.items() if not field.description] == []
