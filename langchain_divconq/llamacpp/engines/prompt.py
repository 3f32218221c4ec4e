"""Text is text: what a message says never becomes the chat template's own tokens.

A chat template spells its control tokens out (`<|im_end|>`), and so can a message. Before the template is rendered,
each such spelling in a message is broken by a mark; afterwards the marked stretches are read with special tokens off
and everything else with them on. A prompt without marks, which is nearly every one, is read as a whole: its token ids
are those that training's tokenizer gives.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines.gguf import GgufHeader, read_array

_NORMAL, _CONTROL, _NEVER = 1, (2, 3), (5, 6)  # llama.cpp's types of tokens: unknown and control; unused and byte
_MARKS = range(0xE000, 0xF8FF)  # private use: no template has them
# llama.cpp takes these for control tokens whatever the file says of them (src/llama-vocab.cpp).
_ENDINGS = ("<end_of_turn>", "<EOT>", "_<EOT>", "< EOT >", "[EOT]", "[EOS]", "</s>", "<eos>", "<end_of_utterance>")


Tokenize = Callable[[str, bool, bool], list[int]]
"""From a text to ids: whether BOS is added where the model wants it, whether special tokens are parsed."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: Control tokens spelled out as the template spells them.
        mark: The character that breaks such spellings where a message holds them; empty: no message does.
    """

    text: str
    mark: str = ""

    def __add__(self, text: str) -> "Prompt":
        return Prompt(self.text + text, self.mark)

    @property
    def unmarked(self) -> str:
        """The text as a reader would see it."""
        return self.text.replace(self.mark, "")


class Specials:
    """The spellings of a model's control tokens.

    The vocabulary is read once, when it is first needed.
    """

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self._lock = threading.Lock()
        self._ids: dict[str, int] | None = None
        self._lengths: list[int] = []
        self._first = re.compile("(?!)")

    def shield(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], str]:
        """Return messages in whose contents no control token is spelled, and the mark that was put in; empty: none."""
        contents = "\0".join(message["content"] for message in messages)
        if next(self.places(contents), None) is None:
            return [dict(message) for message in messages], ""
        mark = next((chr(code) for code in _MARKS if chr(code) not in contents), None)
        if mark is None:
            raise EngineError(
                "The messages spell out control tokens and hold every character of private use, so none is left to "
                "keep the two apart. Remove either from the messages."
            )
        return [{**message, "content": self._broken(message["content"], mark)} for message in messages], mark

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where control tokens are spelled: the longest at each place, and some may overlap."""
        ids = self._read()
        for match in self._first.finditer(text):
            place = match.start()
            length = next((size for size in self._lengths if text[place : place + size] in ids), 0)
            if length:
                yield place, place + length

    def tokens(self, text: str | Prompt, tokenize: Tokenize, bos: str = "", *, special: bool = True) -> list[int]:
        """Return a text's token ids; `special`: as a prompt is read, `bos` first where the model wants it.

        In a marked prompt, what is read with special tokens off begins and ends at control tokens of the template,
        across which no two characters could have joined anyway.
        """
        if isinstance(text, Prompt) and text.mark and special:
            return tokenize("", True, True) + self._tokens(text, lambda part, parse: tokenize(part, False, parse))
        plain = text.unmarked if isinstance(text, Prompt) else text
        return tokenize(plain.removeprefix(bos) if special else plain, special, special)

    def _tokens(self, prompt: Prompt, tokenize: Callable[[str, bool], list[int]]) -> list[int]:
        ids: list[int] = []
        pending, start = "", 0
        for begin, end in [*self.places(prompt.text), (len(prompt.text), len(prompt.text))]:
            if begin < start:
                continue
            between = prompt.text[start:begin]
            if prompt.mark in between:
                ids += tokenize(pending, True) if pending else []
                ids += self._plain(between, prompt.mark, tokenize)
                pending = ""
            else:
                pending += between
            pending += prompt.text[begin:end]
            start = end
        return ids + (tokenize(pending, True) if pending else [])

    def _plain(self, text: str, mark: str, tokenize: Callable[[str, bool], list[int]]) -> list[int]:
        whole = tokenize(text.replace(mark, ""), False)
        if set(self._read().values()).isdisjoint(whole):
            return whole
        # What a file calls user-defined is parsed with special tokens off too: keep the halves apart.
        return [token for part in text.split(mark) if part for token in tokenize(part, False)]

    def _broken(self, content: str, mark: str) -> str:
        parts, start = [], 0
        for begin, _ in self.places(content):
            parts += [content[start : begin + 1], mark]
            start = begin + 1
        return "".join([*parts, content[start:]])

    def _read(self) -> dict[str, int]:
        with self._lock:
            if self._ids is None:
                texts = read_array(self._header, "tokenizer.ggml.tokens")
                kinds = read_array(self._header, "tokenizer.ggml.token_type")
                kinds += [_NORMAL] * (len(texts) - len(kinds))
                ids = {
                    text: token
                    for token, (text, kind) in enumerate(zip(texts, kinds, strict=False))
                    if len(text) > 1 and (kind in _CONTROL or (kind not in _NEVER and _looks_like_control(text)))
                }
                self._lengths = sorted({len(text) for text in ids}, reverse=True)
                firsts = "".join(sorted({re.escape(text[0]) for text in ids}))
                self._first = re.compile(f"[{firsts}]" if firsts else "(?!)")
                self._ids = ids
            return self._ids


def _looks_like_control(text: str) -> bool:
    return text in _ENDINGS or (text[:2] in ("<|", "<\uff5c") and text[-2:] in ("|>", "\uff5c>"))
