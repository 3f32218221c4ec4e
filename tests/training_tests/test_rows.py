"""The rows of a dataset: from files of every form, from the hub, and of one's own."""

import gzip
import json
from pathlib import Path

import pytest

from tests.training_tests.rows import MUSIQUE, SOCRATIC, STRATEGY, WIKI2, Row, read, save, subquestions
from training.config import Source, SourceName
from training.data.sources import read_source


def test_rows_of_ones_own_are_read_as_they_are(tmp_path: Path) -> None:
    rows: list[Row] = [{"question": "Who?"}, {"id": "b", "question": "Who?", "answers": ["Voss"], "subquestions": []}]
    first, second = read(tmp_path, "jsonl", *rows)
    assert (first.id.rsplit("/", 1)[1], first.recorded, first.answers) == ("1", None, ())
    assert (second.id.rsplit("/", 1)[1], subquestions(second), second.answers) == ("b", (), ("Voss",))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"question": ""}', r"train\.jsonl, row 2, cannot be used: question"),
        ('{"question": " "}', r"train\.jsonl, row 2, cannot be used: question"),
        ('{"question": "Who?", "answer": "Voss"}', r"row 2, cannot be used: answer: Extra inputs"),
        ("{", r"train\.jsonl, line 2, is no JSON: "),
        ("[1]", r"train\.jsonl, line 2, is no JSON object: '\[1\]'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"question": "Who?"}\n' + line)
    with pytest.raises(ValueError, match=problem):
        list(read_source(Source(name="jsonl", path=path)))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.jsonl", b"", r"rows\.jsonl holds no row"),
        ("rows.jsonl", '{"question": "Who?"}'.encode("utf-16"), r"rows\.jsonl cannot be read: .*Expected UTF-8"),
        ("rows.jsonl", b'{"question": "\xff"}', r"rows\.jsonl cannot be read: "),
        ("rows.jsonl.gz", b"no gzip", r"rows\.jsonl\.gz cannot be read: "),
        ("rows.json", b'[{"question": ', r"rows\.json cannot be read: "),
        ("rows.json", b"7", r"rows\.json cannot be read: "),
        ("rows.json", b'["Who?"]', r"rows\.json holds 'Who\?' where a row is expected"),
        ("rows.parquet", b"no parquet", r"rows\.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        list(read_source(Source(name="jsonl", path=tmp_path / name)))


def test_a_file_of_another_split_by_its_name_is_refused(tmp_path: Path) -> None:
    path = save([STRATEGY], tmp_path / "questions_validation.jsonl")
    with pytest.raises(
        ValueError, match='holds the split "dev" by its name, and source \'strategyqa\' asks for "train"'
    ):
        list(read_source(Source(name="strategyqa", path=path)))
    assert len(list(read_source(Source(name="strategyqa", split="dev", path=path)))) == 1


def test_a_split_that_a_dataset_lacks_a_missing_file_and_an_unknown_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no split \"train\" of 'bamboogle'.*there are: \"test\""):
        list(read_source(Source(name="bamboogle")))
    with pytest.raises(ValueError, match=r"needs .*gone\.jsonl, which is not there"):
        list(read_source(Source(name="gsm8k", path=tmp_path / "gone.jsonl")))
    (tmp_path / "rows.csv").write_text("")
    with pytest.raises(ValueError, match=r"rows\.csv is of an unknown kind; expected \.parquet"):
        list(read_source(Source(name="gsm8k", path=tmp_path / "rows.csv")))
    for name in ("jsonl", "least_to_most"):
        with pytest.raises(ValueError, match=r"there are: none\. Set split, or say where the rows are \(path or hub\)"):
            list(read_source(Source.model_validate({"name": name})))


def test_lines_of_json_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    path = save([{"question": "Who?"}, {"question": "When?"}], tmp_path / "train.json")
    assert [one.question for one in read_source(Source(name="jsonl", path=path))] == ["Who?", "When?"]


def test_gzip_and_parquet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(SOCRATIC).encode()))
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist([SOCRATIC])
    parquet.write_table(table, tmp_path / "test.parquet")
    read_gzip = list(read_source(Source(name="gsm8k_socratic", split="test", path=path)))
    assert read_gzip == list(read_source(Source(name="gsm8k_socratic", split="test", path=tmp_path / "test.parquet")))


@pytest.mark.parametrize(("name", "row"), [("gsm8k_socratic", SOCRATIC), ("strategyqa", STRATEGY)])
def test_the_hub_gives_what_a_file_gives(tmp_path: Path, name: SourceName, row: Row) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "hub"
    save([row], folder / "train.jsonl")
    from_hub = list(read_source(Source(name=name, hub=str(folder))))
    assert from_hub == read(tmp_path, name, row)
    with pytest.raises(ValueError, match=f"cannot be read for source '{name}', split 'test'"):
        list(read_source(Source(name=name, split="test", hub=str(folder))))


def test_musique_and_wiki2_are_read_in_the_hubs_form(tmp_path: Path) -> None:
    hops = [{**hop, "paragraph_support_idx": at} for at, hop in enumerate(MUSIQUE["decomposition"])]
    paragraphs = [{"idx": at, "paragraph_text": hop["evidence"]} for at, hop in enumerate(hops)]
    row = {
        "question": MUSIQUE["question"],
        "answer": "Altena",
        "answer_aliases": ["Altena, Mark"],
        "paragraphs": paragraphs,
    }
    (found,) = read(tmp_path, "musique", {**row, "question_decomposition": hops}, split="dev")
    assert found.answers == ("Altena", "Altena, Mark")
    assert found.recorded == read(tmp_path, "musique", MUSIQUE, split="dev")[0].recorded
    triples = {"evidences": [fact.split("->") for fact in WIKI2["evidence"]]}
    hub = {key: value for key, value in WIKI2.items() if key != "evidence"} | triples
    assert read(tmp_path, "wiki2", hub) == read(tmp_path, "wiki2", WIKI2)
