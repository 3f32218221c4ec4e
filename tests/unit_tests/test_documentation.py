"""The documents say what is so, as far as reading them can tell; tests/integration_tests executes them."""

import ast
import posixpath
import re
from pathlib import Path

import pytest

from tests.outputs.documents import DOCUMENTS, Block, Step, blocks, python_blocks, read, steps, without_times
from tests.outputs.marks import SHOWN, TABLES, names, piece, with_pieces
from tests.outputs.rivals import render_rivals
from tests.outputs.shown import by_hand
from tests.repository import EXAMPLES, ROOT, files

MOST_README_LINES = 200
ALL = [*DOCUMENTS, "CONTRIBUTING.md", "training/README.md"]
BLOCKS = [block for document in ALL for block in python_blocks(document)]


def test_the_readme_is_one_page_and_shows_what_matters_first() -> None:
    lines = read("README.md").splitlines()
    assert len(lines) <= MOST_README_LINES
    first = [line for line in lines[:100] if line.startswith("## ")]
    assert first[:4] == ["## Install", "## Retrieval, hop by hop", "## The chain", "## Does it help?"]


def test_the_readme_names_every_page_of_the_documentation() -> None:
    index = read("README.md").partition("## Documentation")[2]
    assert [page for page in DOCUMENTS if page != "README.md" and f"({page})" not in index] == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_python_compiles(block: Block) -> None:
    compile(block.source, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("document", ALL)
def test_every_block_of_python_is_seen_by_these_tests(document: str) -> None:
    assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", read(document), re.MULTILINE)) == len(
        python_blocks(document)
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_compiles_and_says_what_it_shows(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), filename=path.name))


@pytest.mark.parametrize("document", ALL)
def test_a_document_names_only_targets_that_make_has(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([a-z]+)\b", read(document), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("document", ALL)
def test_a_document_links_only_to_files_and_headings_that_exist(document: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(document)) if "://" not in link]
    paths = {path.as_posix() for path in files()}
    folders = {parent.as_posix() for path in files() for parent in path.parents}
    wrong = []
    for link in links:
        name, _, heading = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(document), name)) if name else document
        if path not in paths | folders or (heading and heading not in _headings(read(path))):
            wrong.append(link)
    assert wrong == []


def _headings(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_shows_the_tables_that_the_committed_results_give(document: str) -> None:
    assert read(document) == with_pieces(read(document), TABLES), "Run: python -m tests.outputs --tables"


def test_every_piece_that_can_be_made_is_shown_somewhere_and_complete() -> None:
    shown = {name for document in DOCUMENTS for name in names(read(document))}
    assert shown == {*TABLES, *SHOWN}
    for document in DOCUMENTS:
        for name in names(read(document)):
            assert piece(read(document), name).strip(), f"{document}: {name} is empty. Run: python -m tests.outputs"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_output_is_left_to_be_made(document: str) -> None:
    empty = [str(step.block) for step in steps(document) if step.shown is not None and step.shown.strip() in ("", "…")]
    assert empty == [], "Run: python -m tests.outputs"


def test_the_library_is_searched_as_the_documentation_says() -> None:
    rows = [line.strip("| ").split(" | ") for line in piece(read("docs/retrieval.md"), "library").splitlines()[2:]]
    told = [(row[0], row[1], row[3]) for row in rows]
    assert told == [
        (asked.question, f"{plainly} of {len(asked.passages)}", f"{handed} of {len(asked.passages)}")
        for asked, plainly, handed in by_hand()
    ]


SHOWING = """\
```python
a = 1
```

```python
print(a)
```

```text
1
```

Words.

```text
no output
```

<!-- not run: it is not there -->
```python
b
```

```console
$ make test
$ make ask Q="Who?"
1. Who?
```
"""


def test_what_prints_is_told_from_what_does_not() -> None:
    found: list[Step] = [*steps("README.md", SHOWING)]
    told = [(step.source, step.shown) for step in found]
    assert told == [("a = 1\n", None), ("print(a)\n", "1\n"), ('make ask Q="Who?"', "1. Who?\n")]
    assert [SHOWING[step.begin : step.end] for step in found[1:]] == ["1\n", "1. Who?\n"]
    assert [block.reason for block in blocks("README.md", SHOWING)] == [None] * 4 + ["it is not there", None]


def test_seconds_are_no_difference_between_outputs() -> None:
    assert without_times("22 out, 40.1 s; 3 s\n") == without_times("22 out, 0.5 s; 12.25 s \n\n")
    assert without_times("22 out") != without_times("23 out")


def test_a_rival_is_compared_over_the_questions_that_both_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(number: int, *found: int | None) -> dict[str, object]:
        used = {"input_tokens": 10, "output_tokens": 2, "seconds": 1.0}
        return {"id": f"{number:03}", "found": found, "decompose": None, "solve": used}

    made = {
        "whole": [record(number, 1, None) for number in range(30)],
        "small_greedy-sequential": [record(number, 1, 9 if number < 20 else 10) for number in range(25)],
        "agent": [record(0, 1)],  # too few for a figure
    }
    monkeypatch.setattr(
        "tests.outputs.rivals.records_of", lambda folder, way: made.get(way, []) if "musique" in folder else []
    )
    monkeypatch.setattr("tests.outputs.rivals.settings_of", lambda folder: settings)
    settings: dict[str, object] = {}
    _, _, whole, ours = render_rivals().splitlines()
    assert whole.startswith("| MuSiQue, n = 25 | the question alone | 0 | +80 [")
    assert whole.endswith("| 50 | 10 / 2 |")
    assert ours.endswith("| 80 | \u2013 | 50 | 10 / 2 |")
    settings["small_greedy-sequential"] = {"weights": {"decomposer_adapter": "another one's checksum"}}
    _, _, whole, ours, _, note = render_rivals().splitlines()
    assert "\\*" not in whole
    assert "hop by hop**\\*" in ours
    assert note.startswith("\\* measured with an earlier")
