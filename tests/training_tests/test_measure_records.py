"""Tests of a measurement's records and settings, as they are committed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from langchain_divconq.usage import StageUsage
from training.measure.records import REPEATED, AnswerRecord, Used, save_settings, shortened
from training.store import Records

SHARED = {"name": "try", "kind": "answers", "seed": 0, "prompt_version": "2"}


def record(name: str = "s/1", **fields: Any) -> AnswerRecord:
    return AnswerRecord.model_validate(
        {"id": name, "source": "s", "strict": 1, "lenient": 1, "why": "right", "mode": "fused", **fields}
    )


def fill(path: Path, *records: AnswerRecord) -> None:
    file = Records(path, AnswerRecord)
    for one in records:
        file.add(one)


def test_a_line_holds_what_differs_from_the_default(tmp_path: Path) -> None:
    path = tmp_path / "arm.jsonl"
    fill(path, record(answer="5 °C", solve=Used(calls=1, output_tokens=7)))
    told = {"id": "s/1", "source": "s", "strict": 1.0, "lenient": 1.0, "answer": "5 °C", "why": "right"}
    told |= {"mode": "fused", "solve": {"calls": 1, "output_tokens": 7}}
    assert json.loads(path.read_text(encoding="utf-8")) == told
    assert Records(path, AnswerRecord).records["s/1"] == record(answer="5 °C", solve=Used(calls=1, output_tokens=7))


def test_failures_can_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "arm.jsonl"
    whys = ["right", "wrong", "no answer", "timeout", "error: KeyError", "refused", "empty reply", "not text"]
    fill(path, *[record(why, why=why) for why in whys])
    Records(path, AnswerRecord).drop(lambda one: one.is_failure)
    assert [*Records(path, AnswerRecord).records] == whys[:3]


def test_a_reason_is_one_of_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        record(why="The server said: no")


@given(st.text() | st.none())
def test_an_answer_is_never_as_long_as_a_passage(answer: str | None) -> None:
    short = shortened(answer)
    assert short is None if answer is None else short is not None and len(short) <= 120
    assert shortened("\ud800") == "?"


def test_an_answer_that_repeats_what_was_asked_is_not_kept() -> None:
    asked = "A farmer  fills nine sacks with barley and has eleven pounds over. How many pounds had he?"
    assert shortened("So a farmer fills nine sacks with barley and that is all", "Who?", asked) == REPEATED
    assert shortened("eleven pounds over", asked, None) == "eleven pounds over"


def test_what_a_servers_cache_held_is_not_recorded() -> None:
    usage = StageUsage(calls=2, unmetered_calls=1, input_tokens=9, cached_tokens=5, output_tokens=3, seconds=0.12345)
    assert Used.of(usage, 1) == Used(calls=2, unmetered_calls=1, input_tokens=9, output_tokens=3, seconds=0.123)


def test_questions_asked_at_once_share_the_seconds() -> None:
    assert Used.of(StageUsage(calls=1, seconds=6.0), 4).seconds == 1.5


def test_settings_are_merged_by_arm_and_an_arm_without_records_is_forgotten(tmp_path: Path) -> None:
    save_settings(tmp_path, SHARED, {"s": 9}, {"a": {"mode": "fused"}, "b": {"mode": "direct"}})
    fill(tmp_path / "a.jsonl", record())
    save_settings(tmp_path, SHARED, {"t": 5}, {"c": {"mode": "direct"}})
    value = json.loads((tmp_path / "settings.json").read_text())
    assert value["arms"] == {"a": {"mode": "fused"}, "c": {"mode": "direct"}}
    assert value["n"] == {"s": 9, "t": 5}


def test_changed_settings_of_records_are_refused_by_name(tmp_path: Path) -> None:
    before = {"mode": "fused", "solver": {"model": "a", "options": {"t": 0}}, "n": 5, "prices": {"solver": None}}
    save_settings(tmp_path, SHARED, {}, {"a": before})
    fill(tmp_path / "a.jsonl", record())
    with pytest.raises(ValueError, match=r"other settings: a: solver\.options\.t was 0 and is 1\. Restore them"):
        save_settings(tmp_path, SHARED, {}, {"a": {**before, "solver": {"model": "a", "options": {"t": 1}}}})
    with pytest.raises(ValueError, match="other settings: seed was 0 and is 3"):
        save_settings(tmp_path, {**SHARED, "seed": 3}, {}, {"b": before})
    save_settings(tmp_path, SHARED, {}, {"a": {**before, "n": 9, "prices": {"solver": {"input": 1}}, "versus": "b"}})
    (tmp_path / "a.jsonl").unlink()
    save_settings(tmp_path, {**SHARED, "seed": 3}, {}, {"a": {"mode": "parallel"}})
