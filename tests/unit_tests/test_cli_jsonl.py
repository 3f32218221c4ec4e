"""The files of the command line: what is read is checked, what is written survives."""

import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from langchain_divconq.cli.jsonl import Item, RecordFile, read_items
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.types import Decomposition, Question

ITEMS = [
    Item(("id", "größe"), Question(text="Wie groß?\u2028Und wie breit?")),
    Item(("line", 2), Question(text="How many?", context="Ten.")),
    Item(("id", 3), Question(text="Why?")),
]


def record(item: Item) -> dict[str, object]:
    return item.record(decomposition=Decomposition(question=item.question).model_dump(mode="json"))


def run(path: Path) -> int:
    """Do what a run over ITEMS does, and return how many of them it had to do."""
    with RecordFile(path, "decomposition") as file:
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
        (b'{"question": "H\xff?"}', "x.jsonl:2: this is no JSON"),
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


def test_an_id_and_the_same_in_quotes_are_two() -> None:
    assert len(read_items([b'{"question": "A?", "id": 1}', b'{"question": "A?", "id": "1"}'], "x")) == 2


def test_a_run_that_finished_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert run(path) == 3
    before = path.read_bytes()
    assert run(path) == 0
    assert path.read_bytes() == before
    assert written(path) == [record(item) for item in ITEMS]


def test_wherever_a_run_is_cut_the_next_makes_the_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # many runs, and no machine goes down
    path = tmp_path / "out.jsonl"
    run(path)
    whole = path.read_bytes()
    # Everywhere about the ends of lines, and here and there between.
    for length in (n for n in range(len(whole)) if n % 9 == 0 or b"\n" in whole[max(n - 4, 0) : n + 4] or n < 12):
        path.write_bytes(whole[:length])
        assert run(path) == 3 - whole[:length].count(b"\n")
        assert path.read_bytes() == whole


def test_the_same_question_under_another_line_is_not_taken_for_answered(tmp_path: Path) -> None:
    run(tmp_path / "out.jsonl")
    with RecordFile(tmp_path / "out.jsonl", "decomposition") as file:
        assert not file.is_finished(Item(("line", 3), ITEMS[1].question))
        with pytest.raises(ConfigurationError, match="holds the answer to another question under line 2"):
            file.is_finished(Item(("line", 2), Question(text="How many?", context="Eleven.")))


def test_records_of_questions_that_the_input_no_longer_has_are_kept(tmp_path: Path) -> None:
    run(tmp_path / "out.jsonl")
    with RecordFile(tmp_path / "out.jsonl", "decomposition") as file:
        file.add(record(Item(("id", "new"), Question(text="New?"))))
    assert [len(written(tmp_path / "out.jsonl")), run(tmp_path / "out.jsonl")] == [4, 0]


def test_failed_records_are_dropped_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with RecordFile(path, "decomposition") as file:
        file.add(ITEMS[0].record(question={}, error="RuntimeError: down"))
        file.add(record(ITEMS[1]))
        file.add(ITEMS[2].record(question={}, error="RuntimeError: down"))
    assert run(path) == 2
    assert written(path) == [record(ITEMS[1]), record(ITEMS[0]), record(ITEMS[2])]
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_file_of_another_input_keeps_its_failed_and_half_written_records(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with RecordFile(path, "decomposition") as file:
        file.add(ITEMS[0].record(question={}, error="RuntimeError: down"))
        file.add(record(ITEMS[1]))
    path.write_bytes(before := path.read_bytes() + b'{"id": "hal')
    with (
        RecordFile(path, "decomposition") as file,
        pytest.raises(ConfigurationError, match="the answer to another question under line 2"),
    ):
        file.is_finished(Item(ITEMS[1].key, Question(text="Another?")))
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such links and modes there")
def test_a_file_that_is_rewritten_keeps_its_mode_and_the_link_to_it_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "kept" / "real.jsonl", tmp_path / "out.jsonl"
    path.parent.mkdir()
    with RecordFile(path, "decomposition") as file:
        file.add(ITEMS[0].record(question={}, error="RuntimeError: down"))
    path.chmod(0o600)
    link.symlink_to(path)
    assert run(link) == 3
    assert link.is_symlink()
    assert written(path) == [record(item) for item in ITEMS]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.rglob("*.*")] == ["out.jsonl", "real.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="a folder cannot be synced there")
def test_a_new_file_in_the_old_ones_place_is_written_through_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    done: list[str] = []
    with RecordFile(path, "decomposition") as file:
        file.add(ITEMS[0].record(question={}, error="RuntimeError: down"))
    fsync, replace = os.fsync, os.replace

    def noting_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    with RecordFile(path, "decomposition") as file:
        monkeypatch.setattr(os, "fsync", noting_fsync)
        monkeypatch.setattr(os, "replace", noting_replace)
        file.add(record(ITEMS[0]))
    assert done == ["file", "replace", "folder", "file"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"my notes\n", ":1 is no record of an earlier run: 'my notes"),
        (b"my notes", ":1 is no record"),
        (b'{"id": "q", "question": "How many?"}', ":1 is no record"),
        (b'{"id": [], "error": ""}\n', ":1 is no record"),
        (b'{"id": 1, "line": 1, "error": ""}\n', ":1 is no record"),
        (b'{"id": 1, "decomposition": {}}\n', ":1 is no record"),
        (b"[1]\n", ":1 is no record"),
        (
            b'{"id": 1, "solution": {"decomposition": {"question": {}}}}\n',
            ":1 holds a solution, and this run makes a dec",
        ),
        (b'{"id": 1, "decomposition": {"question": {}}}\n' * 2, ":2: there is a record of id 1 before"),
    ],
)
def test_a_file_that_is_not_this_run_s_is_left_as_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        RecordFile(path, "decomposition")
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with (
        RecordFile(path, "decomposition"),
        pytest.raises(ConfigurationError, match=r"Another run is writing .*out\.jsonl"),
    ):
        RecordFile(path, "decomposition")
    assert run(path) == 3


def test_a_record_that_cannot_be_written_whole_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.jsonl"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with RecordFile(path, "decomposition") as file:
        file.add(record(ITEMS[0]))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                file.add(record(ITEMS[1]))
    assert written(path) == [record(ITEMS[0])]


def test_half_a_surrogate_pair_in_an_id_is_written_as_an_escape(tmp_path: Path) -> None:
    [item] = read_items([b'{"id": "\\ud800", "question": "A?"}'], "x.jsonl")
    with RecordFile(tmp_path / "out.jsonl", "decomposition") as file:
        file.add(record(item))
    with RecordFile(tmp_path / "out.jsonl", "decomposition") as file:
        assert file.is_finished(item)
