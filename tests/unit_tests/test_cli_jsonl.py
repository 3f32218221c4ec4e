"""The files of the command line: what is read is checked, what is written survives."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq.cli.jsonl import Item, RecordFile, read_items
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.types import Decomposition, Question

SETTINGS = {"gate": 0.75, "price": (1, 2)}
ITEMS = [
    Item(("id", "größe"), Question(text="Wie groß?\u2028Und wie breit?")),
    Item(("line", 2), Question(text="How many?", context="Ten.")),
    Item(("id", 3), Question(text="Why?")),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def record(item: Item) -> dict[str, object]:
    return item.record(decomposition=Decomposition(question=item.question).model_dump(mode="json"))


def run(path: Path) -> int:
    """Do what a run over ITEMS does, and return how many of them it had to do."""
    with RecordFile(path, "decomposition", SETTINGS) as file:
        left = [item for item in ITEMS if not file.is_finished(item)]
        for item in left:
            file.add(record(item))
    return len(left)


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_lines_are_questions_with_an_id_or_a_line() -> None:
    lines = [
        b'\xef\xbb\xbf{"question": "A?", "id": "a", "gold": 1}\n',
        b"\n",
        b'{"question": "B?", "context": "C.", "id": null}\r\n',
        b'{"question": "\xc3\xa4?", "id": 1}',
    ]
    assert read_items(lines, "x.jsonl", "D.") == [
        Item(("id", "a"), Question(text="A?", context="D.")),
        Item(("line", 3), Question(text="B?", context="C.")),
        Item(("id", 1), Question(text="ä?", context="D.")),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"How many?", "x.jsonl:2: this is no JSON"),
        (b'{"question": "H\xff?"}', "x.jsonl:2: this is no UTF-8 (invalid start byte)"),
        ('{"question": "H?"}'.encode("utf-16"), "x.jsonl:2: this is UTF-16 or no text at all, and UTF-8 was expected"),
        (b"\0" * 9, "x.jsonl:2: this is UTF-16 or no text at all"),
        (b"[" * 100_000, "x.jsonl:2: this is no JSON"),
        (b'["How many?"]', "x.jsonl:2: expected"),
        (b'{"text": "How many?"}', "x.jsonl:2: expected"),
        (b'{"question": " "}', "x.jsonl:2: The question is empty"),
        (b'{"question": 5}', "x.jsonl:2: The question must be text, got 5"),
        (b'{"question": "A?", "context": 5}', "x.jsonl:2: The context must be text, got 5"),
        (b'{"question": "A?", "id": 1.5}', "x.jsonl:2: an id must be text or a whole number, got 1.5"),
        (b'{"question": "A?", "id": true}', "x.jsonl:2: an id must be text or a whole number, got True"),
        (b'{"question": "A?", "id": "a"}', "x.jsonl:2: the id 'a' stands in line 1 already"),
    ],
)
def test_a_line_that_holds_no_question_is_named(line: bytes, message: str) -> None:
    with pytest.raises(InvalidQuestionError, match=re.escape(message)):
        read_items([b'{"question": "A?", "id": "a"}\n', line], "x.jsonl")


@pytest.mark.parametrize("lines", [[], [b"\n", b"  \n"]])
def test_a_file_without_a_question_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(InvalidQuestionError, match=r"x\.jsonl holds no question"):
        read_items(lines, "x.jsonl")


def test_an_id_and_the_same_in_quotes_are_two() -> None:
    assert len(read_items([b'{"question": "A?", "id": 1}', b'{"question": "A?", "id": "1"}'], "x")) == 2


def test_a_run_that_finished_leaves_nothing_to_the_next(path: Path) -> None:
    assert run(path) == 3
    before = path.read_bytes()
    assert run(path) == 0
    assert path.read_bytes() == before
    assert written(path) == [{**record(item), "settings": {"gate": 0.75, "price": [1, 2]}} for item in ITEMS]


@pytest.mark.parametrize("settings", [{}, {"gate": 0.5, "price": (1, 2)}, {**SETTINGS, "mode": "fused"}])
def test_a_file_that_was_made_with_other_settings_is_refused(path: Path, settings: dict[str, Any]) -> None:
    run(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"was made with (gate 0\.75|mode None), and now it is"):
        RecordFile(path, "decomposition", settings)
    assert path.read_bytes() == before


def test_wherever_a_run_is_cut_the_next_makes_the_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # many runs, and no machine goes down
    run(path)
    whole = path.read_bytes()
    # Everywhere about the ends of lines, and here and there between.
    for length in (n for n in range(len(whole)) if n % 9 == 0 or b"\n" in whole[max(n - 4, 0) : n + 4] or n < 12):
        path.write_bytes(whole[:length])
        assert run(path) == 3 - whole[: length + 1].count(b"\n")  # a record that lacks the line's end alone is one
        assert path.read_bytes() == whole


def test_the_same_question_under_another_line_is_not_taken_for_answered(path: Path) -> None:
    run(path)
    with RecordFile(path, "decomposition", SETTINGS) as file:
        assert not file.is_finished(Item(("line", 3), ITEMS[1].question))
        with pytest.raises(ConfigurationError, match="holds the answer to another question under line 2"):
            file.is_finished(Item(("line", 2), Question(text="How many?", context="Eleven.")))


def test_records_of_questions_that_the_input_no_longer_has_are_kept(path: Path) -> None:
    run(path)
    with RecordFile(path, "decomposition", SETTINGS) as file:
        file.add(record(Item(("id", "new"), Question(text="New?"))))
    assert [len(written(path)), run(path)] == [4, 0]


@pytest.mark.parametrize(
    "content",
    [
        *(b"my notes\n", b"my notes", b"[1]\n", b"\xff\n", b'{"id": "q", "question": "How many?"}'),
        b'{"id": 1, "question": {}, "error": "down"}\n',
        b'{"id": [], "decomposition": {"question": {}}, "settings": {}}\n',
        b'{"id": 1, "line": 1, "decomposition": {"question": {}}, "settings": {}}\n',
        b'{"id": 1, "decomposition": {}, "settings": {}}\n',
        b'{"id": 1, "decomposition": {"question": {}}}\n',
        b'{"id": 1, "solution": {"decomposition": {"question": {}}}, "settings": {}}\n',
    ],
)
def test_a_file_that_is_not_this_run_s_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=":1 holds no decomposition of an earlier run: "):
        RecordFile(path, "decomposition", SETTINGS)
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_runs_cannot_write_one_file(path: Path) -> None:
    with (
        RecordFile(path, "decomposition", SETTINGS),
        pytest.raises(ConfigurationError, match=r"Another run is writing .*out\.jsonl"),
    ):
        RecordFile(path, "decomposition", SETTINGS)
    assert run(path) == 3


@pytest.mark.parametrize("how", ["fsync", "write"])
def test_a_full_disk_is_named_and_what_was_finished_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with RecordFile(path, "decomposition", SETTINGS) as file:
        file.add(record(ITEMS[0]))
        whole = path.read_bytes()
        with monkeypatch.context() as patch:
            if how == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr(file, "_file", Full(file._file))
            with pytest.raises(ConfigurationError, match=r"out\.jsonl cannot be written: .*No space left.*make room"):
                file.add(record(ITEMS[1]))
        assert path.read_bytes() == whole
    assert run(path) == 2
    assert len(written(path)) == 3


class Full:
    """A file on a disk that takes ten bytes more."""

    def __init__(self, file: Any) -> None:
        self._file, self._room = file, 10

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        room, self._room = self._room, 0
        written: int = self._file.write(data[:room])
        return written


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ConfigurationError, match="it is no regular file"):
            RecordFile(path, "decomposition")


@pytest.mark.skipif(sys.platform == "win32", reason="no such links there")
def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "real.jsonl")
    assert run(tmp_path / "out.jsonl") == 3
    assert (tmp_path / "out.jsonl").is_symlink()
    assert len(written(tmp_path / "real.jsonl")) == 3


def test_half_a_surrogate_pair_in_an_id_is_written_as_an_escape(path: Path) -> None:
    [item] = read_items([b'{"id": "\\ud800", "question": "A?"}'], "x.jsonl")
    with RecordFile(path, "decomposition", SETTINGS) as file:
        file.add(record(item))
    with RecordFile(path, "decomposition", SETTINGS) as file:
        assert file.is_finished(item)
