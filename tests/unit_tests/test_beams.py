"""Beam search over a small language that a stand-in for llama.cpp speaks: every reply can be tried there."""

import ctypes
import math
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines._beams import Beams, Found
from langchain_divconq.llamacpp.engines._pieces import LARGEST, cut, last_cut, pieces, shared

np = pytest.importorskip("numpy")

VOCABULARY = 5
END = 4


class Llama:
    """llama.cpp as far as a search needs it: a sequence is the tokens it has read, and logits follow from these."""

    def __init__(self, seed: int) -> None:
        self.seed, self.sequences, self.decoded = seed, dict[int, list[int]](), 0
        self.rows: list[Any] = []
        self.fails = False

    def logits(self, tokens: Sequence[int]) -> list[float]:
        drawn = random.Random(f"{self.seed} {list(tokens)}")
        return [drawn.uniform(-3, 3) for _ in range(VOCABULARY)]

    def llama_decode(self, _: object, batch: Any) -> int:
        if self.fails:
            return 1
        self.rows = []
        for at in range(batch.n_tokens):
            tokens = self.sequences.setdefault(batch.seq_id[at][0], [])
            assert batch.pos[at] == len(tokens), "a sequence is read in order"
            tokens.append(batch.token[at])
            if batch.logits[at]:
                self.rows.append((ctypes.c_float * VOCABULARY)(*self.logits(tokens)))
        self.decoded += batch.n_tokens
        return 0

    def llama_get_logits_ith(self, _: object, place: int) -> Any:
        return ctypes.cast(self.rows[place], ctypes.POINTER(ctypes.c_float))

    def llama_memory_seq_cp(self, _: object, source: int, target: int, *__: int) -> None:
        assert target not in self.sequences, "a sequence is copied to one that is free"
        self.sequences[target] = list(self.sequences[source])

    def llama_memory_seq_rm(self, _: object, sequence: int, start: int, __: int) -> bool:
        if start <= 0:
            self.sequences.pop(sequence, None)
        else:
            del self.sequences[sequence][start:]
        return True

    def llama_memory_clear(self, *_: object) -> None:
        self.sequences.clear()

    def llama_vocab_is_eog(self, _: object, token: int) -> bool:
        return token == END

    def llama_batch_init(self, size: int, *_: int) -> Any:
        rows = [[0] for _ in range(size)]
        zeros = {name: [0] * size for name in ("token", "pos", "n_seq_id", "logits")}
        return SimpleNamespace(n_tokens=0, seq_id=rows, **zeros)

    LLAMA_FLASH_ATTN_TYPE_ENABLED = 1
    llama_context_default_params = staticmethod(SimpleNamespace)
    llama_init_from_model = staticmethod(lambda *_: "context")
    llama_get_memory = llama_free = llama_batch_free = staticmethod(lambda *_: None)


class Greedy:
    """A sampler without a grammar: the likeliest token."""

    grammar = None
    sample = staticmethod(lambda logits: int(logits.argmax()))
    accept = staticmethod(lambda _: None)


def searching(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> Beams:
    monkeypatch.setitem(sys.modules, "llama_cpp", llama)
    monkeypatch.setattr("langchain_divconq.llamacpp.engines._beams._SHORTLIST", VOCABULARY)
    return Beams(None, None, VOCABULARY, lambda _: None, 1)


@pytest.fixture
def llama() -> Llama:
    return Llama(7)


@pytest.fixture
def beams(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beams]:
    made = searching(llama, monkeypatch)
    yield made
    made.close()


PROMPT = [1, 2, 3]


def find(beams: Beams, prompt: Sequence[int] = PROMPT, *, width: int = 3, limit: int = 6) -> Found:
    return beams.search(prompt, Greedy(), width, limit, lambda: False)  # type: ignore[arg-type]  # as much of one as is used


def mean(llama: Llama, prompt: Sequence[int], reply: Sequence[int]) -> float:
    total = 0.0
    for at, token in enumerate(reply):
        logits = llama.logits([*prompt, *reply[:at]])
        total += logits[token] - math.log(sum(map(math.exp, logits)))
    return total / len(reply)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_with_beams_for_all_replies_the_likeliest_of_all_is_found(seed: int) -> None:
    llama = Llama(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = find(searching(llama, monkeypatch), width=200, limit=4)
    first = max(range(VOCABULARY), key=lambda token: llama.logits(PROMPT)[token])
    if first == END:
        assert (found.reason, found.steps) == ("stop", [])
        return
    words = [reply for length in range(3) for reply in product(range(END), repeat=length)]
    replies = [[first, *reply, END] for reply in words]
    best = sorted(replies, key=lambda reply: -mean(llama, PROMPT, reply))
    assert found.reason == "stop"
    assert [step.token for step in found.steps] == best[0][:-1]
    assert [[step.token for step in end.whole()] for end in found.ended] == best
    assert [end.score for end in found.ended] == pytest.approx([mean(llama, PROMPT, reply) for reply in best], abs=1e-5)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4), limit=st.integers(1, 12))
def test_what_is_told_of_each_token_is_what_the_model_thinks_of_it_after_those_before(
    seed: int, width: int, limit: int
) -> None:
    llama = Llama(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        beams = searching(llama, monkeypatch)
        found = find(beams, width=width, limit=limit)
        assert len(found.ended) <= width
        reply = [step.token for step in found.steps]
        assert len(reply) <= limit
        assert END not in reply
        for at, step in enumerate(found.steps):
            logits = llama.logits([*PROMPT, *reply[:at]])
            total = math.log(sum(map(math.exp, logits)))
            assert step.logprob == pytest.approx(logits[step.token] - total, abs=1e-5)
            assert [token for token, _ in step.top] == sorted(range(VOCABULARY), key=lambda one: -logits[one])
        assert llama.sequences == {0: PROMPT}, "the beams are forgotten, the prompt is not"
        assert find(beams, width=width, limit=limit).steps == found.steps


def test_a_search_that_ends_nowhere_is_cut_at_its_limit(beams: Beams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beams, "_ends", lambda _: False)
    found = find(beams, limit=5)
    assert (found.reason, len(found.steps)) == ("length", 5)


def test_what_two_prompts_share_is_read_once_in_whole_pieces(beams: Beams, llama: Llama) -> None:
    long = [at % END for at in range(70)]
    assert find(beams, long).cached == 0
    before = llama.decoded
    other = [*long[:69], 3, 3]
    again = find(beams, other)
    assert again.cached == 64
    assert llama.sequences[0] == other
    assert llama.decoded - before < 71
    assert find(beams, long).cached == 64


def test_a_cancelled_search_says_so_and_the_next_one_is_right(beams: Beams, llama: Llama) -> None:
    whole = find(beams)
    for most in range(3):
        asked = iter([False] * most + [True] * 9)
        found = beams.search(PROMPT, Greedy(), 3, 6, lambda asked=asked: next(asked))  # type: ignore[arg-type,misc]  # as in find
        assert (found.reason, found.steps) == ("cancelled", [])
        assert find(beams).steps == whole.steps


def test_a_search_that_fails_is_forgotten_whole(beams: Beams, llama: Llama) -> None:
    whole = find(beams)
    llama.fails = True
    with pytest.raises(EngineError, match=r"failed on 3 tokens of beams \(code 1\)"):
        find(beams)
    llama.fails = False
    assert find(beams).steps == whole.steps


def test_numbers_that_are_none_are_an_error(beams: Beams, llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "logits", lambda _: [math.nan] * VOCABULARY)
    with pytest.raises(EngineError, match="no numbers"):
        find(beams)


@given(length=st.integers(1, 2000), start=st.integers(0, 2000))
def test_a_prompts_pieces_meet_and_end_at_the_places_where_every_prompt_is_cut(length: int, start: int) -> None:
    begin = last_cut(min(start, length - 1))
    found = list(pieces(begin, length))
    assert [place for piece in found for place in piece] == list(range(begin, length))
    assert all(piece.stop == cut(piece.start) <= piece.start + LARGEST for piece in found[:-1])


@given(known=st.lists(st.integers(0, 1), max_size=300), prompt=st.lists(st.integers(0, 1), min_size=1, max_size=300))
def test_of_what_was_read_as_much_is_used_as_is_equal_in_whole_pieces(known: list[int], prompt: list[int]) -> None:
    count = shared(known, prompt)
    assert known[:count] == prompt[:count]
    assert count < len(prompt)
    assert last_cut(count) == count
    assert shared(prompt, prompt) == last_cut(len(prompt) - 1)
