"""The models that come with the library, by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_divconq import students
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.llamacpp import weights
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.unwrap import models
from tests.unit_tests.fakes import PLAN, QUESTION, scripted


@pytest.fixture(autouse=True)
def _shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two adapters that ship, and the medium weights in the cache."""
    folder, cache = tmp_path / "adapters", tmp_path / "langchain-divconq" / "models"
    for place in (folder, cache):
        place.mkdir(parents=True)
    for path in (folder / "smollm2-135m-d.gguf", folder / "qwen2.5-coder-0.5b-d.gguf"):
        path.touch()
    (cache / "qwen2.5-coder-0.5b-instruct.gguf").touch()
    monkeypatch.setattr(weights, "_ADAPTERS", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("DIVCONQ_MODEL", "DIVCONQ_MEDIUM_MODEL"):
        monkeypatch.delenv(variable, raising=False)


def gguf(decomposer: Decomposer) -> ChatGGUF:
    [(model, _)] = models(decomposer.model)
    assert isinstance(model, ChatGGUF)
    return model


def test_small_is_the_default_and_medium_the_other() -> None:
    assert Decomposer("small") == Decomposer()
    assert (gguf(Decomposer()).model_path, gguf(Decomposer()).adapter_path) == (None, weights.default_adapter())
    medium = gguf(Decomposer("medium"))
    assert medium.model_path == weights.default_weights("medium")
    assert medium.adapter_path == weights.default_adapter("medium")


def test_a_path_is_a_gguf_and_a_colon_names_a_provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (tmp_path / "m.gguf", f"gguf:{tmp_path}/m.gguf", str(tmp_path / "m.gguf")):
        assert gguf(Decomposer(name)).model_path == tmp_path / "m.gguf"
        assert gguf(Decomposer(name)).adapter_path is None
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name, **_: scripted(PLAN, model_name=name))
    named: Any = Decomposer("fake:writer").model
    assert named.model_name == "fake:writer"
    assert len(Decomposer("fake:writer").invoke(QUESTION).subquestions) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("large", r'decomposer large names no model. Pass "small", "medium", the path of a GGUF \(gguf:/path'),
        ("gguf:", "decomposer gguf: names no file"),
        ("nobody:knows", "decomposer 'nobody:knows' cannot be set up"),
    ],
)
def test_a_name_that_names_nothing_is_refused_with_what_may_be_named(name: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decomposer(name)


def test_the_plans_of_students_are_searched_for_with_beams() -> None:
    assert [Decomposer(name).beams for name in ("small", "medium")] == [4, 4]
    assert Decomposer("small", num_beams=1).beams == 1
    server = scripted("1. Who?")
    assert [Decomposer(server, llama_server=True, prompt_style=style).beams for style in ("student", None)] == [4, 1]
    assert Decomposer(ChatGGUF(model_path=Path("other.gguf"))).beams == 1


def test_an_engine_is_chosen_without_losing_the_adapter() -> None:
    chosen = ChatGGUF(engine="xllamacpp", n_threads=3)
    for model in (chosen, chosen.with_retry(), chosen.bind(seed=1)):
        tuned = gguf(Decomposer(model))
        assert (tuned.engine, tuned.n_threads, tuned.adapter_path) == ("xllamacpp", 3, weights.default_adapter())
    assert chosen.adapter_path is None
    bundled = students.bundled_model("medium", engine="xllamacpp")
    assert (bundled.engine, bundled.adapter_path) == ("xllamacpp", weights.default_adapter("medium"))


def test_weights_that_are_named_stay_bare(tmp_path: Path) -> None:
    assert gguf(Decomposer(ChatGGUF(model_path=tmp_path / "m.gguf"))).adapter_path is None


def test_there_are_no_other_sizes() -> None:
    with pytest.raises(ConfigurationError, match="no model 'large' in the library"):
        students.bundled_model("large")
