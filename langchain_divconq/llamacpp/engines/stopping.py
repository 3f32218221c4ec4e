"""Stop strings, handled once for both engines: text is held back while it may be the beginning of one."""

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_divconq.llamacpp.engines.base import Token


@dataclass(frozen=True)
class Piece:
    """A stretch of a reply that is certain, and the tokens that begin in it."""

    text: str
    tokens: tuple[Token, ...]


class StopFilter:
    """Cuts a stream of tokens at the first stop string that is completed, leaving the string out.

    However the text is divided into tokens, the pieces add up to the same text. Where two stop strings are completed by
    the same character, the longer one is taken. Once it has `stopped`, nothing more is to be fed.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self.stopped = False
        self._stop = tuple(stop)
        self._held = ""
        self._released = 0
        self._waiting: list[tuple[int, Token]] = []  # with the place in the reply where each begins

    def feed(self, token: Token) -> Piece | None:
        """Take a token; return what has become certain by it, if anything has."""
        self._waiting.append((self._released + len(self._held), token))
        self._held += token.text
        ends = [(place + len(text), place) for text in self._stop if (place := self._held.find(text)) >= 0]
        if ends:
            self.stopped = True
            return self._release(min(ends)[1])
        return self._release(len(self._held) - self._possible_beginning())

    def finish(self) -> Piece | None:
        """Return what is held back when the reply is over."""
        text, tokens = self._held, tuple(token for _, token in self._waiting)
        self._held, self._waiting = "", []
        return Piece(text, tokens) if not self.stopped and (text or tokens) else None

    def _possible_beginning(self) -> int:
        """Return the length of the longest end of the held text that begins a stop string."""
        longest = max((len(text) for text in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-length:]) for text in self._stop):
                return length
        return 0

    def _release(self, length: int) -> Piece | None:
        if not length:
            return None
        text, self._held = self._held[:length], self._held[length:]
        self._released += length
        tokens = tuple(token for place, token in self._waiting if place < self._released)
        self._waiting = self._waiting[len(tokens) :]
        return Piece(text, tokens)
