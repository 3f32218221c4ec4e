"""An engine without a model: it says what it is told to, token by token, and watches how it is used."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from langchain_divconq.llamacpp import chat_models
from langchain_divconq.llamacpp.engines.base import (
    Completion,
    EngineName,
    EngineSettings,
    FoundReply,
    OnToken,
    Request,
    Token,
    TokenLogprob,
)
from langchain_divconq.llamacpp.engines.prompt import Prompt
from langchain_divconq.llamacpp.engines.turn import Turn

WORDS = ["The", " sky", " is", " blue", "."]


class FakeEngine:
    """Replies with `tokens` to every prompt; a prompt token is a word.

    Attributes:
        tokens: The texts of the reply's tokens.
        delay: Seconds before each token.
        requests: What was asked, in order.
        produced: How many tokens were decoded in all.
        error: Raised by `generate` instead of replying.
    """

    name: EngineName = "llama-cpp-python"
    n_ctx = 4096

    def __init__(self, tokens: Sequence[str], *, delay: float = 0.0, error: Exception | None = None) -> None:
        self.tokens, self.delay, self.error = list(tokens), delay, error
        self.requests: list[Request] = []
        self.produced = 0
        self.closed = False
        self.turn = Turn()
        self.threads: set[str] = set()

    def render(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        return Prompt(json.dumps([dict(message) for message in messages]))

    def tokenize(self, text: str | Prompt, *, special: bool = True) -> list[int]:
        words = (text.text if isinstance(text, Prompt) else text).split()
        return list(range(len(words) + special))

    def generate(self, request: Request, on_token: OnToken, is_cancelled: Callable[[], bool]) -> Completion:
        with self.turn.taken(is_cancelled) as held:
            self.requests.append(request)
            self.threads.add(threading.current_thread().name)
            if self.error is not None:
                raise self.error
            prompt_tokens = len(self.tokenize(request.prompt))
            if not held:
                return Completion("cancelled", prompt_tokens, 1, 0)
            for count, token in enumerate(self._tokens(request)):
                time.sleep(self.delay)
                if is_cancelled():
                    return Completion("cancelled", prompt_tokens, 1, count)
                if count == request.max_tokens:
                    return Completion("length", prompt_tokens, 1, count)
                self.produced += 1
                if on_token(token):
                    return Completion("cancelled", prompt_tokens, 1, count + 1)
            found = [FoundReply("".join(self.tokens), -1.5, (-1.0, -2.0)), FoundReply("Yes.", -2.0, (-2.0,))]
            found = found if request.num_beams > 1 else []
            return Completion("stop", prompt_tokens, 1, len(self.tokens), tuple(found))

    def _tokens(self, request: Request) -> Iterator[Token]:
        for place, text in enumerate(self.tokens):
            if request.top_logprobs is None:
                yield Token(text)
            else:
                others = [TokenLogprob(f"other{number}", -2.0 - number) for number in range(request.top_logprobs)]
                yield Token(text, TokenLogprob(text, -1.0 - place), tuple(others))

    def close(self) -> None:
        self.closed = True


def install(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> list[EngineSettings]:
    """Let every `ChatGGUF` run on this engine; return the settings they ask for, as they ask."""
    asked: list[EngineSettings] = []

    def load(settings: EngineSettings, name: EngineName | None = None) -> FakeEngine:
        asked.append(settings)
        return engine

    monkeypatch.setattr(chat_models, "load_engine", load)
    monkeypatch.setattr(chat_models, "default_weights", lambda: Path("model.gguf"))
    return asked
