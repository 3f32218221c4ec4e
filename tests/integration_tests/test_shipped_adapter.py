"""The adapter that ships, on the default weights, as users get it."""

import hashlib
import json
from pathlib import Path

import pytest

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer
from langchain_divconq.engines.base import EngineName
from langchain_divconq.types import references
from langchain_divconq.weights import DEFAULT_SHA256, default_adapter


@pytest.fixture
def adapter() -> Path:
    path = default_adapter()
    assert path is not None
    return path


@pytest.fixture
def decomposer(adapter: Path, engine_name: EngineName) -> Decomposer:
    return Decomposer(model=ChatGGUF(adapter_path=adapter, engine=engine_name))


def test_the_manifest_tells_the_files_and_the_base_they_are_for(adapter: Path) -> None:
    manifest = json.loads(adapter.with_suffix(".manifest.json").read_text(encoding="utf-8"))
    assert manifest["base"]["sha256"] == DEFAULT_SHA256
    for name, recorded in manifest["files"].items():
        content = (adapter.parent / name).read_bytes()
        assert recorded == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, name


def test_the_chain_divides_with_it_unless_told_otherwise(adapter: Path) -> None:
    chain = DivideAndConquer(solver=ChatGGUF())
    assert isinstance(chain.decomposer, Decomposer)
    assert isinstance(chain.decomposer.model, ChatGGUF)
    assert chain.decomposer.model.adapter_path == adapter


def test_a_hop_that_needs_an_earlier_answer_refers_to_it(decomposer: Decomposer) -> None:
    plan = decomposer.invoke("In which country was the director of the film Winter Harbour born?").subquestions
    assert len(plan) == 2
    assert [references(subquestion) for subquestion in plan] == [(), (1,)]


def test_a_question_of_one_step_is_left_whole(decomposer: Decomposer) -> None:
    assert decomposer.invoke("Who directed the film Winter Harbour?").subquestions == ()


def test_a_word_problem_is_divided_into_its_steps(decomposer: Decomposer) -> None:
    question = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"
    plan = decomposer.invoke(question).subquestions
    assert 1 <= len(plan) <= 3
    assert question not in plan
