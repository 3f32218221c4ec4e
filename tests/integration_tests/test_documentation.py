"""Every block of the documents and every example runs, on the real embedded model, and prints what is shown.

Where one names a paid provider through `init_chat_model`, the embedded model answers in its place. A block that cannot
run at all has `<!-- not run: REASON -->` on the line above it.
"""

import runpy
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq import ChatGGUF
from tests.outputs.documents import DOCUMENTS, read, without_times
from tests.outputs.marks import SHOWN, names, piece
from tests.outputs.session import run
from tests.repository import EXAMPLES

ANEW = "Run: python -m tests.outputs"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_blocks_of_a_document_run_in_order_in_one_session_and_print_what_it_shows(
    document: str, gguf_path: Path
) -> None:
    assert gguf_path.is_file()
    for step, printed in run(document):
        if step.shown is not None:
            assert without_times(printed) == without_times(step.shown), f"{step.block}: {ANEW}"


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document in DOCUMENTS for name in names(read(document)) if name in SHOWN],
)
def test_a_document_shows_what_the_shipped_model_does(document: str, name: str, gguf_path: Path) -> None:
    assert gguf_path.is_file()
    assert piece(read(document), name) == SHOWN[name](), ANEW


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_something(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], gguf_path: Path
) -> None:
    def init_chat_model(*_: Any, **__: Any) -> ChatGGUF:
        return ChatGGUF(model_path=gguf_path, max_tokens=64)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    monkeypatch.syspath_prepend(str(path.parent))  # as Python does for a script
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
