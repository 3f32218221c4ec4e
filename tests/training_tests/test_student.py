"""The student before training: weights, prompts, token ids. That llama.cpp reads the same: integration_tests."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_divconq import Question
from langchain_divconq.prompts import decomposition_prompt
from tests.gguf_writer import write_model
from training.student.model import completion_ids, end_of_turn, load_student, prompt_ids, render_prompt, student_file
from training.student.tiny import CHAT_TEMPLATE, make_tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_student("tiny", tmp_path_factory.mktemp("student"), "float32")[1]


def test_a_name_is_a_file_the_tiny_model_or_a_hub_checkpoint(tmp_path: Path) -> None:
    tiny = student_file("tiny", tmp_path)
    assert tiny == tmp_path / "tiny.gguf"
    made = tiny.stat().st_mtime_ns
    assert student_file("tiny", tmp_path) == tiny
    assert tiny.stat().st_mtime_ns == made
    assert student_file(str(tiny), tmp_path) == tiny
    assert student_file("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path) is None
    with pytest.raises(ValueError, match=r"'nowhere\.gguf' is no file"):
        student_file("nowhere.gguf", tmp_path)


def test_the_bundled_student_is_the_librarys_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "mine.gguf")
    monkeypatch.setenv("DIVCONQ_MODEL", str(path))
    assert student_file("bundled", tmp_path) == path


def test_a_student_is_loaded_in_silence_and_can_be_trained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    for dtype in ("float32", "bfloat16"):
        model, _ = load_student("tiny", tmp_path, dtype)
        assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
        assert not model.training
        assert not getattr(model, "is_quantized", False)
        assert not hasattr(model.config, "quantization_config")
    assert capfd.readouterr() == ("", "")


def test_the_same_file_gives_the_same_weights(tmp_path: Path) -> None:
    one, other = (load_student("tiny", tmp_path, "float32")[0].state_dict() for _ in range(2))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_family_that_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "other.gguf", architecture="gemma2")
    with pytest.raises(ValueError, match="is a 'gemma2'; adapters can be exported for llama, qwen2, qwen3"):
        load_student(str(path), tmp_path, "float32")


def test_a_model_that_cannot_be_chatted_with_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.student.tiny.CHAT_TEMPLATE", "")
    path = make_tiny(tmp_path / "base.gguf")
    with pytest.raises(ValueError, match="has no chat template"):
        load_student(str(path), tmp_path, "float32")


def test_the_width_of_a_head_is_the_files_own(tmp_path: Path) -> None:
    model, _ = load_student(str(make_tiny(tmp_path / "qwen3.gguf", "qwen3")), tmp_path, "float32")
    assert model.config.head_dim == 16


def test_a_prompt_opens_the_reply_and_neighbours_of_one_role_are_one_turn(tokenizer: Any) -> None:
    text = render_prompt([SystemMessage("Be brief."), HumanMessage("Hi."), HumanMessage("Who?")], tokenizer)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi.\n\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_prompt_and_its_completion_make_a_whole_chat(tokenizer: Any) -> None:
    messages = decomposition_prompt(Question(text="Is 1,999 more than  24 dozen?"), 3, "student")
    plan = "1. How many are 24 dozen?\n2. Is 1,999 more than #1?"
    ids = prompt_ids(messages, tokenizer) + completion_ids(plan, tokenizer)
    chat = render_prompt([*messages, AIMessage(plan)], tokenizer).removesuffix("\n<|im_start|>assistant\n")
    assert tokenizer.decode(ids) == chat
    assert ids[-1] == end_of_turn(tokenizer) == tokenizer.eos_token_id
    assert ids.count(end_of_turn(tokenizer)) == len(messages) + 1


def test_a_beginning_token_is_there_once_where_the_model_wants_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    tokenizer.bos_token = "<|endoftext|>"
    messages = [HumanMessage("Hi.")]
    without = prompt_ids(messages, tokenizer)
    assert without[0] != tokenizer.bos_token_id
    monkeypatch.setattr(tokenizer, "add_bos_token", True, raising=False)
    assert prompt_ids(messages, tokenizer) == [tokenizer.bos_token_id, *without]
    tokenizer.chat_template = "{{ bos_token }}" + CHAT_TEMPLATE
    assert prompt_ids(messages, tokenizer) == [tokenizer.bos_token_id, *without]


def test_a_template_whose_replies_never_end_is_refused(tmp_path: Path) -> None:
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] + '\\n' }}{% endfor %}"
    with pytest.raises(ValueError, match=r"ends a reply with '\\n'"):
        completion_ids("1. Who?", tokenizer)


@given(st.text(st.characters(min_codepoint=9, max_codepoint=126)))
def test_any_text_comes_back_from_its_tokens(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(completion_ids(text, tokenizer)[:-1]) == text
