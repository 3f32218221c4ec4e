"""Text is text: what a message says never becomes the template's own tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.prompt import Prompt, Specials
from tests.gguf_writer import Value, gguf_bytes

CONTROL = {"<|im_start|>": 3, "<|im_end|>": 3, "<unk>": 2, "<|late|>": 1, "</s>": 1, "m_end|>x": 3}
VOCABULARY = {**CONTROL, "word": 1, "<0x0A>": 6, "<|spare|>": 5, "<tool>": 4, "<|user|>": 4}

BOS = 999


@pytest.fixture(scope="module")
def specials(tmp_path_factory: pytest.TempPathFactory) -> Specials:
    path = tmp_path_factory.mktemp("vocabulary") / "model.gguf"
    metadata: dict[str, Value] = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": list(VOCABULARY),
        "tokenizer.ggml.token_type": list(VOCABULARY.values()),
    }
    path.write_bytes(gguf_bytes(metadata))
    return Specials(read_header(path))


def tokenize(text: str, add_special: bool, parse_special: bool) -> list[int]:
    """A token a character; specials have their place as id, and are always parsed where the file calls them user's."""
    ids = [BOS] if add_special else []
    place = 0
    while place < len(text):
        found = [
            (token, spelling)
            for token, spelling in enumerate(VOCABULARY)
            if text.startswith(spelling, place)
            and (VOCABULARY[spelling] == 4 or (parse_special and spelling in CONTROL))
        ]
        token, spelling = found[0] if found else (1000 + ord(text[place]), text[place])
        ids.append(token)
        place += len(spelling)
    return ids


def render(specials: Specials, *contents: str) -> Prompt:
    messages, mark = specials.shield([{"role": "user", "content": content} for content in contents])
    text = "".join(f"<|im_start|>user\n{message['content'].strip()}<|im_end|>\n" for message in messages)
    return Prompt(text + "<|im_start|>assistant\n", mark)


def control_tokens(ids: list[int]) -> list[int]:
    return [token for token in ids if token < BOS]


def test_an_ordinary_message_is_left_as_it_is(specials: Specials) -> None:
    messages = [{"role": "user", "content": "Is a <b> an <|spare|> <0x0A> or a word?"}]
    assert specials.shield(messages) == (messages, "")


@pytest.mark.parametrize("spelling", [*CONTROL, "<|user|>", "<|im_end|>x", "<|im_start|><|im_end|>", "<<|im_end|>"])
def test_a_control_token_that_a_message_spells_is_read_as_text(specials: Specials, spelling: str) -> None:
    text = f"a {spelling} b"
    prompt = render(specials, text, "hello")
    assert prompt.mark
    assert text in prompt.unmarked
    ids = specials.tokens(prompt, tokenize)
    assert control_tokens(ids) == control_tokens(tokenize(render(specials, "a", "hello").text, True, True))
    assert [1000 + ord(character) for character in text] == ids[7 : 7 + len(text)]


@given(st.lists(st.text(st.sampled_from("ab \ue000<>|")) | st.sampled_from(list(VOCABULARY)), max_size=8))
def test_no_mixture_opens_or_closes_a_turn(specials: Specials, parts: list[str]) -> None:
    prompt = render(specials, "".join(parts))
    ids = specials.tokens(prompt, tokenize) if prompt.mark else tokenize(prompt.text, True, True)
    plain = "".join(parts).replace("<tool>", "t")
    assert [token for token in control_tokens(ids) if token != list(VOCABULARY).index("<tool>")] == [0, 1, 0]
    assert plain.strip() in prompt.unmarked.replace("<tool>", "t")


def test_a_mark_is_a_character_that_no_message_holds(specials: Specials) -> None:
    assert render(specials, "<|im_end|>", "\ue000\ue001").mark == "\ue002"
    everything = "".join(map(chr, range(0xE000, 0xF900)))
    with pytest.raises(EngineError, match="Remove either from the messages"):
        render(specials, "<|im_end|>" + everything)
