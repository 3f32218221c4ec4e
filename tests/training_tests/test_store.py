"""Files that outlive whatever stops a run."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from training.store import Records, changes, hold, save_json, whole

SETTINGS: dict[str, Any] = {"teacher": "scripted", "options": {"cap": 3}}


class Note(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str = ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.jsonl"


def notes(path: Path, *names: str, settings: dict[str, Any] | None = None) -> Records[Note]:
    file: Records[Note] = Records(path, Note, settings)
    for name in names:
        file.add(Note(id=name, text="ü\u2028"))
    return file


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "values.json"
    save_json(path, {"a": "ü"})
    with pytest.raises(UnicodeEncodeError, match="surrogates"), whole(path) as temporary:
        temporary.write_text("hal\ud800")
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"}


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(ValueError, match="Another process is at work in"), hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_a_record_is_on_the_disk_once_it_is_added(path: Path) -> None:
    notes(path, "a").add(Note(id="b"))
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {"id": "a", "text": "ü\u2028"},
        {"id": "b"},
    ]


@given(cut=st.integers(min_value=0))
def test_wherever_a_file_is_cut_off_what_was_whole_is_kept(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "notes.jsonl"
    written = [*notes(path, "a", "b", "c", settings=SETTINGS).records.values()]
    data = path.read_bytes()
    torn = data[: cut % (len(data) + 1)]
    path.write_bytes(torn)
    file = notes(path, settings=SETTINGS)
    assert [*file.records.values()] == written[: torn.count(b"\n")]
    for one in written[len(file.records) :]:
        file.add(one)
    assert path.read_bytes() == data


def test_a_line_that_is_no_record_is_refused_and_the_file_left_alone(path: Path) -> None:
    notes(path, "a")
    before = path.read_bytes() + b'{"id": "b", "question": "Who?"}\n'
    path.write_bytes(before)
    with pytest.raises(
        ValueError, match=r"notes\.jsonl, line 2, is no record of its kind: 1 validation error for Note\nquestion"
    ):
        notes(path)
    assert path.read_bytes() == before


def test_an_id_has_one_record(path: Path) -> None:
    with pytest.raises(ValueError, match=r"a has a record in .* already"):
        notes(path, "a", "a")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ValueError, match="line 2: a stands there already"):
        notes(path)


def test_records_are_sorted_and_dropped_at_one_stroke(path: Path) -> None:
    file = notes(path, "a", "b", "c")
    file.sort(["c", "z", "a", "b"])
    assert [*notes(path).records] == [*file.records] == ["c", "a", "b"]
    with pytest.raises(ValueError, match="holds a record of c, which is no question of this arm"):
        file.sort(["a", "b"])
    file.drop(lambda one: one.id == "a")
    file.add(Note(id="d"))
    assert [*notes(path).records] == ["c", "b", "d"]


def test_threads_add_records_to_one_file(path: Path) -> None:
    file = notes(path)
    threads = [threading.Thread(target=file.add, args=[Note(id=str(number))]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes(path).records == file.records
    assert len(file.records) == 20


def test_records_of_other_settings_are_refused_by_name_until_the_file_is_gone(path: Path, tmp_path: Path) -> None:
    notes(path, "a", settings=SETTINGS)
    before = path.read_bytes()
    other = {**SETTINGS, "options": {"cap": 4}}
    with pytest.raises(ValueError, match=r"options\.cap was 3 and is 4\. Restore them to go on, or delete the file"):
        notes(path, settings=other)
    assert path.read_bytes() == before
    path.unlink()
    assert notes(path, "a", settings=other).records
    notes(path, settings=other).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_is_missing_counts_as_none() -> None:
    before, now = {"a": 1, "b": {"c": 2, "d": None}}, {"a": 1, "b": {"c": 3}, "e": None}
    assert [str(change) for change in changes(before, now)] == ["b.c was 2 and is 3"]
