"""The documents say what is so, as far as reading them can tell; tests/integration_tests executes them."""

import ast
import re
from pathlib import Path

import pytest

from tests.repository import EXAMPLES, ROOT, Block, files, python_blocks

DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
BLOCKS = [block for document in DOCUMENTS for block in python_blocks(document)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_python_compiles(block: Block) -> None:
    compile(block.source, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_of_python_is_seen_by_these_tests(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", text, re.MULTILINE)) == len(python_blocks(document))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_compiles_and_says_what_it_shows(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), filename=path.name))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_only_targets_that_make_has(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)\b", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE))
    assert named, f"{document} names no target."
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_links_only_to_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) if "://" not in link}
    paths = {path.as_posix() for path in files()}
    folders = {parent.as_posix() for path in files() for parent in path.parents}
    assert {link for link in links if link.rstrip("/") not in paths | folders} == set()
