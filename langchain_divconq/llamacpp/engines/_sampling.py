"""Choosing the next token from llama.cpp's logits, for the llama-cpp-python engine."""

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from langchain_divconq.errors import EngineError, GrammarError
from langchain_divconq.llamacpp.engines.base import Request, Token, TokenLogprob

_SHORTLIST = 64


class Sampler:
    """Samples token ids for one request. Not thread-safe; call `close` when done.

    A grammar is asked about the one token that the model chose, and about the whole vocabulary only where it refuses
    that one, as llama.cpp's server does (common/sampling.cpp). The outcome is distributed exactly as if it had been
    asked first: p(x) if allowed, plus p(refused) times the constrained p(x), is the constrained p(x).
    """

    def __init__(self, vocab: Any, n_vocab: int, request: Request) -> None:
        self._np: Any = importlib.import_module("numpy")
        self._lib: Any = importlib.import_module("llama_cpp")
        self._grammar: Any = None
        self._chain: Any = None
        self._data = self._np.zeros(n_vocab, dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._ids = self._np.arange(n_vocab, dtype="i4")
        if request.grammar is not None:
            self._grammar = self._lib.llama_sampler_init_grammar(vocab, request.grammar.encode(), b"root")
            if not self._grammar:
                first = request.grammar.strip().partition("\n")[0]
                raise GrammarError(f"llama.cpp refused the grammar that begins with {first!r}.")
        if request.temperature > 0:
            self._chain = self._make_chain(request)

    def sample(self, logits: Any) -> int:
        """Return the next token.

        `logits` has a float for each token of the vocabulary, as a numpy array.

        Raises:
            EngineError: The grammar allows no token here.
        """
        token = int(logits.argmax()) if self._chain is None else self._select(self._fill(logits))
        if self._grammar is None or self._allows(token, logits):
            return token
        if self._chain is None and (choice := self._likeliest_allowed(logits)) is not None:
            return choice
        candidates = self._fill(logits)
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        if not self._np.isfinite(self._data["logit"]).any():
            raise EngineError("The grammar allows no token of this model's vocabulary here.")
        if self._chain is None:
            return int(self._data["logit"].argmax())
        return self._select(candidates)

    @property
    def grammar(self) -> Any:
        """The grammar as it stands after what was accepted, llama.cpp's own; None: there is none."""
        return self._grammar

    def accept(self, token: int) -> None:
        """Move the grammar past a token that was sampled."""
        if self._grammar is not None:
            self._lib.llama_sampler_accept(self._grammar, token)

    def close(self) -> None:
        """Free the samplers."""
        for sampler in (self._grammar, self._chain):
            if sampler:
                self._lib.llama_sampler_free(sampler)
        self._grammar = self._chain = None

    def _make_chain(self, request: Request) -> Any:
        # The order is xllamacpp's too (see there), so both sample from one distribution.
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if request.top_k > 0:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(request.top_k))
        if request.top_p < 1:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(request.top_p, 1))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(request.temperature))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(request.seed))
        return chain

    def _fill(self, logits: Any, ids: Any = None) -> Any:
        """Return llama.cpp's view of candidates that live in this object's array."""
        chosen = self._ids if ids is None else ids
        data = self._data[: len(chosen)]
        data["id"], data["logit"], data["p"] = chosen, logits if ids is None else logits[ids], 0.0
        pointer = self._data.ctypes.data_as(self._lib.llama_token_data_p)
        return self._lib.llama_token_data_array(data=pointer, size=len(chosen), selected=-1, sorted=False)

    def _select(self, candidates: Any) -> int:
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)

    def _allows(self, token: int, logits: Any) -> bool:
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(self._fill(logits, self._ids[token : token + 1])))
        return bool(self._np.isfinite(self._data["logit"][0]))

    def _likeliest_allowed(self, logits: Any) -> int | None:
        """Ask the grammar about the likeliest tokens only: greedy needs no more, and it is far cheaper."""
        ids = self._np.argpartition(logits, -min(_SHORTLIST, len(logits)))[-_SHORTLIST:]
        ids = self._np.sort(ids)  # equal logits: the lowest id wins, as in argmax over everything
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(self._fill(logits, ids)))
        allowed = self._data["logit"][: len(ids)]
        return int(ids[allowed.argmax()]) if self._np.isfinite(allowed).any() else None


def describe(token: int, text: str, logits: Any, top: int | None, spelling: Callable[[int], str]) -> Token:
    """Return a token with its log-probability and the `top` likeliest ones; None: with neither."""
    if top is None:
        return Token(text)
    np: Any = importlib.import_module("numpy")
    # In single precision but for the sum: a table of doubles takes ten times as long, for digits that nobody reads.
    highest = logits.max()
    total = float(highest) + float(np.log(np.exp(logits - highest).sum(dtype="f8")))
    best = np.argpartition(logits, -min(top, len(logits)))[-top:] if top else np.zeros(0, dtype=int)
    best = best[np.argsort(-logits[best], kind="stable")]
    others = [(int(place), float(logits[place]) - total) for place in best]
    return told(token, text, float(logits[token]) - total, others, top, spelling)


def told(
    token: int,
    text: str,
    logprob: float,
    others: Sequence[tuple[int, float]],
    top: int | None,
    spelling: Callable[[int], str],
) -> Token:
    """Return a token with its log-probability and the `top` likeliest of the others; None: with neither."""
    if top is None:
        return Token(text)
    likeliest = tuple(TokenLogprob(spelling(other), of_it) for other, of_it in others[:top])
    return Token(text, TokenLogprob(spelling(token), logprob), likeliest)
