"""Beam search for the llama-cpp-python engine: several beginnings of a reply are followed side by side.

The beams live in a llama.cpp context of their own, whose sequences share the prompt's cells: there a prompt is read
once, and a beam takes as many cells as it has tokens.
"""

import ctypes
import importlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines._logging import last_complaint
from langchain_divconq.llamacpp.engines._pieces import LARGEST, last_cut, pieces, shared
from langchain_divconq.llamacpp.engines._sampling import Sampler
from langchain_divconq.llamacpp.engines.base import NO_NUMBERS

_SHORTLIST = 40
"""So many of a beam's likeliest tokens are shown to the grammar; only where it takes none, all are."""
_LONGEST = 320
"""Most tokens of a reply: with a plan of nine subquestions to spare."""
_CELLS = 512
"""Memory is made in pieces of so many tokens."""


@dataclass(frozen=True)
class Step:
    """A token of a beam, with what came before it.

    Attributes:
        before: The step before; None: the reply begins here.
        token: Its id.
        logprob: Natural log of its probability under the model itself.
        total: The sum of these up to here.
        top: The likeliest tokens in its place with theirs, likeliest first.
        length: How many tokens the beam has, this one included.
    """

    before: "Step | None"
    token: int
    logprob: float
    total: float
    top: tuple[tuple[int, float], ...]
    length: int

    @property
    def score(self) -> float:
        """The mean log-probability of its tokens, by which beams of different lengths compare."""
        return self.total / self.length

    def whole(self) -> "list[Step]":
        """Return the steps from the first to this one."""
        steps, step = [self], self.before
        while step is not None:
            steps.append(step)
            step = step.before
        return steps[::-1]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        reason: How the reply ended.
        steps: The reply's, without the token that ends it.
        cached: How many tokens of the prompt were known before.
        ended: The last step of each reply that ended, the likeliest first: as many as there are beams, or fewer.
    """

    reason: Literal["stop", "length", "cancelled"]
    steps: list[Step]
    cached: int
    ended: tuple[Step, ...] = ()


@dataclass(frozen=True)
class _Beam:
    step: Step
    sequence: int
    grammar: Any


class Beams:
    """A context for the beams of one model at a time; not thread-safe, and to be closed before the model is.

    Args:
        model: llama.cpp's, with its vocabulary.
        adapters: What sets the model's adapters on a context.
        n_threads: For decoding.
    """

    def __init__(self, model: Any, vocab: Any, n_vocab: int, adapters: Callable[[Any], None], n_threads: int) -> None:
        self._lib: Any = importlib.import_module("llama_cpp")
        self._np: Any = importlib.import_module("numpy")
        self._model, self._vocab, self._n_vocab = model, vocab, n_vocab
        self._adapters, self._n_threads = adapters, n_threads
        self._context: Any = None
        self._batch: Any = None
        self._room = (0, 0)
        self._known: list[int] = []  # the tokens that sequence 0 has read in whole pieces
        self._length = 0  # of the prompt there
        self._data = self._np.zeros(n_vocab, dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])

    def search(
        self, prompt: Sequence[int], sampler: Sampler, beams: int, limit: int, is_cancelled: Callable[[], bool]
    ) -> Found:
        """Return the likeliest reply found: the one whose tokens have the highest mean log-probability, end included.

        All beams begin with the likeliest token that the grammar allows. The search is over once as many replies have
        ended as there are beams, and none that goes on has a higher mean.

        Args:
            prompt: Its tokens; what it shares with the one before is not read again.
            sampler: For the first token; it holds the grammar.
            beams: How many are followed.
            limit: Most tokens of a reply; it also ends after 320, for which there is memory.
            is_cancelled: Asked before each piece of the prompt and each token.
        """
        limit = min(limit, _LONGEST)
        self._make_room(len(prompt) + beams * limit, 2 * beams + 1)
        try:
            cached = self._read(prompt, is_cancelled)
            if cached is None:
                return Found("cancelled", [], 0)
            logits = self._logits(-1)
            first = sampler.sample(logits)
            if self._ends(first):
                return Found("stop", [], cached)
            sampler.accept(first)
            top = self._top(logits)
            logprob = top[0][1] + float(logits[first] - logits[top[0][0]])
            return self._follow(
                Step(None, first, logprob, logprob, top, 1), sampler, beams, limit, cached, is_cancelled
            )
        except BaseException:
            self._known = []  # what llama.cpp holds of it is unknown now
            raise

    def _follow(
        self, begun: Step, sampler: Sampler, beams: int, limit: int, cached: int, is_cancelled: Callable[[], bool]
    ) -> Found:
        memory = self._lib.llama_get_memory(self._context)
        self._lib.llama_memory_seq_cp(memory, 0, 1, -1, -1)
        live, ended = [_Beam(begun, 1, self._clone(sampler.grammar))], list[Step]()
        spare = itertools.cycle((range(beams + 1, 2 * beams + 1), range(1, beams + 1)))
        try:
            while live and live[0].step.length < limit and not _is_over(live, ended, beams):
                if is_cancelled():
                    return Found("cancelled", [], cached)
                self._decode([(beam.step.token, beam.step.length - 1, beam.sequence) for beam in live])
                steps = self._continued(live, 2 * beams)
                ended += [step for _, step in steps[:beams] if self._ends(step.token)]
                chosen = [(parent, step) for parent, step in steps if not self._ends(step.token)][:beams]
                live = self._branch(live, chosen, next(spare))
        finally:
            self._branch(live, [], range(0))
        if ended:
            ended.sort(key=lambda step: -step.score)
            return Found("stop", ended[0].whole()[:-1], cached, tuple(ended[:beams]))
        return Found("length", max((beam.step for beam in live), key=lambda step: step.score).whole(), cached)

    def close(self) -> None:
        """Free the context."""
        if self._batch is not None:
            self._lib.llama_batch_free(self._batch)
        if self._context:
            self._lib.llama_free(self._context)
        self._context = self._batch = None
        self._room = (0, 0)

    def _make_room(self, cells: int, sequences: int) -> None:
        if self._room[0] >= cells and self._room[1] >= sequences:
            return
        cells, sequences = max(-(-cells // _CELLS) * _CELLS, self._room[0]), max(sequences, self._room[1])
        self.close()
        lib = self._lib
        options = lib.llama_context_default_params()
        options.n_ctx = cells
        options.n_seq_max = sequences
        options.n_batch = options.n_ubatch = LARGEST
        options.n_threads = options.n_threads_batch = self._n_threads
        options.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        options.kv_unified = options.no_perf = True
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise EngineError(f"llama.cpp cannot make {cells} tokens of memory for beams: {last_complaint()}")
        self._adapters(self._context)
        self._batch = lib.llama_batch_init(LARGEST, 0, 1)
        self._room, self._known = (cells, sequences), []

    def _read(self, prompt: Sequence[int], is_cancelled: Callable[[], bool]) -> int | None:
        """Read a prompt into sequence 0; return how much of it was known, None where it was cancelled."""
        memory = self._lib.llama_get_memory(self._context)
        cached = shared(self._known, prompt)
        # Some kinds of memory (recurrent ones) cannot go back to an earlier place, only to the beginning.
        if cached and not self._lib.llama_memory_seq_rm(memory, 0, cached, -1):
            cached = 0
        if not cached:
            self._lib.llama_memory_clear(memory, False)
        self._known = []
        for place in pieces(cached, len(prompt)):
            if is_cancelled():
                return None
            self._decode([(prompt[at], at, 0) for at in place], is_prompt=True)
        self._known = list(prompt[: last_cut(len(prompt))])
        self._length = len(prompt)
        return cached

    def _decode(self, tokens: Sequence[tuple[int, int, int]], *, is_prompt: bool = False) -> None:
        """Decode tokens, each with its place and sequence; those of a reply count from the prompt's end."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for at, (token, place, sequence) in enumerate(tokens):
            batch.token[at] = token
            batch.pos[at] = place if is_prompt else self._length + place
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = sequence
            batch.logits[at] = not is_prompt or at == len(tokens) - 1
        code = self._lib.llama_decode(self._context, batch)
        if code != 0:
            raise EngineError(f"llama.cpp failed on {len(tokens)} tokens of beams (code {code}): {last_complaint()}")

    def _logits(self, place: int) -> Any:
        pointer = self._lib.llama_get_logits_ith(self._context, place)
        logits = self._np.ctypeslib.as_array(pointer, (self._n_vocab,))
        if self._np.isnan(logits.max()):
            raise EngineError(NO_NUMBERS)
        return logits

    def _continued(self, live: list[_Beam], count: int) -> list[tuple[int, Step]]:
        """Return the likeliest steps that the grammar allows after any of the beams, each with its beam's place."""
        found = []
        for place, beam in enumerate(live):
            logits = self._logits(place)
            top = self._top(logits)
            for token, logprob in self._allowed(beam.grammar, logits, top)[:count]:
                before = beam.step
                found.append((place, Step(before, token, logprob, before.total + logprob, top, before.length + 1)))
        return sorted(found, key=lambda one: -one[1].total)[:count]

    def _top(self, logits: Any) -> tuple[tuple[int, float], ...]:
        """Return the likeliest tokens with their log-probabilities, likeliest first."""
        np = self._np
        highest = logits.max()
        total = float(highest) + float(np.log(np.exp(logits - highest).sum(dtype="f8")))
        ids = np.argpartition(logits, -min(_SHORTLIST, len(logits)))[-_SHORTLIST:]
        ids = np.sort(ids)  # equal logits: the lowest id comes first
        ids = ids[np.argsort(-logits[ids], kind="stable")]
        return tuple((int(token), float(logits[token]) - total) for token in ids)

    def _allowed(self, grammar: Any, logits: Any, top: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
        if grammar is None:
            return list(top)
        ids = self._np.array([token for token, _ in top], dtype="i4")
        allowed = self._ask(grammar, logits, ids)
        if kept := [one for one, is_allowed in zip(top, allowed, strict=True) if is_allowed]:
            return kept
        ids = self._np.arange(self._n_vocab, dtype="i4")
        ids = ids[self._ask(grammar, logits, ids)]
        if not len(ids):
            raise EngineError("The grammar allows no token of this model's vocabulary here.")
        token = int(ids[logits[ids].argmax()])
        return [(token, top[0][1] + float(logits[token] - logits[top[0][0]]))]

    def _ask(self, grammar: Any, logits: Any, ids: Any) -> Any:
        """Return which of the tokens a grammar allows."""
        data = self._data[: len(ids)]
        data["id"], data["logit"], data["p"] = ids, logits[ids], 0.0
        pointer = self._data.ctypes.data_as(self._lib.llama_token_data_p)
        view = self._lib.llama_token_data_array(data=pointer, size=len(ids), selected=-1, sorted=False)
        self._lib.llama_sampler_apply(grammar, ctypes.byref(view))
        return self._np.isfinite(data["logit"])

    def _branch(self, live: list[_Beam], chosen: list[tuple[int, Step]], sequences: range) -> list[_Beam]:
        """Return the beams that go on, in sequences of their own; the others are forgotten."""
        lib, memory = self._lib, self._lib.llama_get_memory(self._context)
        beams = []
        for sequence, (parent, step) in zip(sequences, chosen, strict=False):
            lib.llama_memory_seq_cp(memory, live[parent].sequence, sequence, -1, -1)
            grammar = self._clone(live[parent].grammar)
            if grammar is not None:
                lib.llama_sampler_accept(grammar, step.token)
            beams.append(_Beam(step, sequence, grammar))
        for beam in live:
            lib.llama_memory_seq_rm(memory, beam.sequence, -1, -1)
            self._free(beam.grammar)
        return beams

    def _ends(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def _clone(self, grammar: Any) -> Any:
        return None if grammar is None else self._lib.llama_sampler_clone(grammar)

    def _free(self, grammar: Any) -> None:
        if grammar is not None:
            self._lib.llama_sampler_free(grammar)


def _is_over(live: list[_Beam], ended: list[Step], beams: int) -> bool:
    best = sorted((step.score for step in ended), reverse=True)[:beams]
    return len(best) == beams and best[-1] >= max(beam.step.score for beam in live)
