"""Models by name, with options; what is kept of a config; what an arm will take."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelConnectionError, ModelNotFoundError
from langchain_core.messages import BaseMessage

from langchain_divconq import ChatGGUF
from langchain_divconq.errors import WeightsNotFoundError
from tests.training_tests.arms import measurement
from tests.unit_tests.fakes import scripted
from training.data.sources import read_source
from training.measure.answers import Answering
from training.measure.config import DecomposerOptions, SolverOptions
from training.measure.models import (
    NAME,
    Meter,
    ask_all,
    decomposer_settings,
    files_of,
    load_decomposer,
    load_solver,
    solver_settings,
    why_failed,
)
from training.measure.records import Mode


def decomposer(**fields: Any) -> DecomposerOptions:
    return DecomposerOptions.model_validate(fields)


def test_a_local_model_takes_its_options_and_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.gguf").write_bytes(b"weights")
    (tmp_path / "adapter.gguf").write_bytes(b"adapter")
    options = SolverOptions(model="gguf:~/model.gguf", adapter=Path("~/adapter.gguf"), options={"max_tokens": 9})
    model = load_solver(options)
    assert isinstance(model, ChatGGUF)
    assert (model.model_path, model.adapter_path) == (tmp_path / "model.gguf", tmp_path / "adapter.gguf")
    assert (model.max_tokens, model.temperature) == (9, 0)
    assert files_of("s", model) == {"s": tmp_path / "model.gguf", "s_adapter": tmp_path / "adapter.gguf"}
    assert solver_settings("s", options)["adapter"] == "~/adapter.gguf", "as the config has it"


def test_bundled_is_the_librarys_default_base() -> None:
    model = load_solver(SolverOptions(model="gguf:bundled"))
    assert isinstance(model, ChatGGUF)
    assert (model.model_path, model.adapter_path) == (None, None)
    with pytest.raises(ValueError, match="max_token\n  Extra inputs are not permitted"):
        load_solver(SolverOptions(model="gguf:bundled", options={"max_token": 9}))


def test_a_chat_model_takes_its_options() -> None:
    options = {"base_url": "http://127.0.0.1:1/v1", "api_key": "none", "max_tokens": 9, "temperature": 0}
    model: Any = load_solver(SolverOptions(model="openai:some", options=options))
    assert (model.model_name, model.openai_api_base, model.max_tokens) == ("some", "http://127.0.0.1:1/v1", 9)


def test_no_model_stands_behind_recorded_plans_or_none(tmp_path: Path) -> None:
    for options in (decomposer(kind="none"), decomposer(kind="recorded", source="gsm8k_socratic")):
        assert load_decomposer(options) is None
    with pytest.raises(WeightsNotFoundError, match="There is no adapter"):
        load_decomposer(decomposer(kind="gguf", adapter=tmp_path / "none.gguf"))


def test_the_shipped_adapter_and_the_bare_base_are_decomposers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIVCONQ_MODEL", raising=False)
    shipped, untuned = load_decomposer(decomposer(kind="shipped")), load_decomposer(decomposer(kind="untuned", gate=1))
    assert shipped is not None
    assert untuned is not None
    assert isinstance(shipped.model, ChatGGUF)
    assert isinstance(untuned.model, ChatGGUF)
    assert (shipped.model.adapter_path is None, untuned.model.adapter_path is None) == (False, True)
    assert (shipped.gate, untuned.gate, shipped.max_subquestions) == (0.75, 1, 3)


def test_settings_hold_what_plans_and_replies_depend_on_and_no_secret() -> None:
    options = {"api_key": "k", "default_headers": {"x": "k"}, "auth_token": "k", "base_url": "u", "max_tokens": 9}
    nested = {"extra_body": {"api_token": "k", "top_k": 1, "parts": [{"password": "k", "n": 2}]}}
    solver = SolverOptions(model="openai:some", options={**options, **nested, "max_completion_tokens": 8})
    assert solver_settings("s", solver) == {
        "name": "s",
        "model": "openai:some",
        "options": {"max_tokens": 9, "extra_body": {"top_k": 1, "parts": [{"n": 2}]}, "max_completion_tokens": 8},
    }
    assert decomposer_settings("none", decomposer(kind="none")) == {"name": "none", "kind": "none"}
    written = decomposer(kind="model", model="openai:some", options=options, gate="always")
    assert decomposer_settings("d", written) == {
        "name": "d",
        "kind": "model",
        "model": "openai:some",
        "max_subquestions": 3,
        "gate": "always",
        "options": {"max_tokens": 9},
    }


@pytest.mark.parametrize("error", [ModelConnectionError("gone"), ModelNotFoundError("none such")])
def test_what_is_no_questions_fault_is_raised_as_it_came(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        why_failed(error)


@pytest.mark.parametrize(
    ("mode", "requests"),
    [("direct", 8), ("step_by_step", 8), ("fused", 8), ("sequential", 32), ("parallel", 32), ("self_ask", 32)],
)
def test_a_preview_counts_the_requests_of_each_mode(tmp_path: Path, mode: Mode, requests: int) -> None:
    decomposer = "d" if mode in ("fused", "sequential", "parallel") else "none"
    config = measurement(tmp_path, arms=[{"name": "a", "decomposer": decomposer, "solver": "s", "mode": mode}])
    asked = [*read_source(config.questions[0])]
    task = Answering(config, config.arms[0], asked, {"s": scripted(""), "d": scripted("")})
    plan = ("What is 1?", "What is 2?", "What is 3?") if decomposer == "d" else ()
    assert len([prompt for one in asked for prompt in task.prompts(one, plan)]) == requests


def test_arms_that_ask_one_after_another_share_the_loop_that_pooled_connections_belong_to() -> None:
    loops = []

    async def ask(_: str) -> None:
        loops.append(asyncio.get_running_loop())

    async def fail(_: str) -> None:
        raise ValueError("not this one")

    ask_all(["a", "b"], ask, concurrency=1, done=0, title="first")
    with pytest.raises(ValueError, match="not this one"):
        ask_all(["c"], fail, concurrency=1, done=0, title="second")
    ask_all(["d"], ask, concurrency=1, done=0, title="third")
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_calls_are_counted_under_the_names_in_their_metadata_those_that_fail_too() -> None:
    def fail(messages: list[BaseMessage]) -> str:
        raise RuntimeError("gone")

    meter = Meter()
    models = [scripted("one two"), scripted(fail).with_config(metadata={NAME: "broken"}), scripted("three")]
    for model in models:
        with suppress(RuntimeError):
            model.invoke("now", {"callbacks": [meter]})
    assert {name: (used.calls, used.unmetered_calls) for name, used in meter.by_name.items()} == {
        "": (2, 0),
        "broken": (1, 1),
    }
    assert (meter.usage.calls, meter.usage.output_tokens) == (3, 3)
