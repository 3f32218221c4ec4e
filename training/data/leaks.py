"""The search for training examples that give an evaluation example away.

One does where the questions are equal but for form, where a hop of one is a question or a hop of the other, where both
are about one DROP passage, or where their texts (context included) share a run of words too long to be chance.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from langchain_divconq.types import references
from training.example import Example

SHORTEST_RUN = 8
"""A text of fewer words than the n-gram counts when the other holds all of it, if it has at least so many words."""

_Index: TypeAlias = defaultdict[str, dict[Any, str]]  # by what may collide: the evaluation example of each
_WORD = re.compile(r"[^\W_]+")
_PASSAGE = re.compile(r"[/_]((?:nfl|history)_\d+)_")
# Their hops are questions of their own. A GSM8K subquestion ("How many are left?") means nothing without its premise.
_SELF_CONTAINED_HOPS = ("musique", "wiki2", "strategyqa")


class Leak(NamedTuple):
    """What a training example collides with."""

    evaluation: str
    """The evaluation example's id."""
    kind: Literal["question", "hop", "passage", "words"]
    """By what: the whole question, a hop, a passage, or a run of words."""


def normalise(text: str) -> str:
    """Return the text's words in lower case, without what stands between them."""
    return " ".join(_WORD.findall(text.casefold()))


def whole_text(example: Example) -> str:
    """Return all that is asked, in normal form: the context and the question."""
    return normalise(f"{example.context or ''} {example.question}")


def find_leaks(train: Sequence[Example], evaluation_sets: Iterable[Example], ngram: int) -> dict[str, Leak]:
    """Return the training examples that give an evaluation example away, by id."""
    # A short text is a run of its own length. Only those are looked for at each length: all runs of all lengths of all
    # passages would fill the memory.
    short_train = {hash(words) for example in train for words in _texts(example) if _is_short(words, ngram)}
    index: _Index = defaultdict(dict)
    seen = set()
    for example in evaluation_sets:
        for key in (normalise(example.question), whole_text(example)):
            index["questions"].setdefault(key, example.id)
        for key in _hops(example):
            index["hops"].setdefault(key, example.id)
        if name := drop_passage(example):
            index["passages"].setdefault(name, example.id)
        for words in _texts(example):
            if words in seen:  # thousands of questions share a passage
                continue
            seen.add(words)
            if _is_short(words, ngram):
                index["short_texts"].setdefault(hash(words), example.id)
            for run in _runs(words, ngram):
                index["runs"].setdefault(run, example.id)
            for length in range(SHORTEST_RUN, ngram):
                for run in _runs(words, length):
                    if run in short_train:
                        index["runs"].setdefault(run, example.id)
    found = ((example.id, _leak(example, index, ngram)) for example in train)
    return {name: leak for name, leak in found if leak is not None}


def _leak(example: Example, index: _Index, ngram: int) -> Leak | None:
    asked, own_hops = {normalise(example.question), whole_text(example)}, _hops(example)
    for key in asked:
        if key in index["questions"]:
            return Leak(index["questions"][key], "question")
    for key in (*asked, *own_hops):
        if found := index["hops"].get(key) or index["questions"].get(key):
            return Leak(found, "hop")
    if found := index["passages"].get(drop_passage(example) or ""):
        return Leak(found, "passage")
    for words in _texts(example):
        runs = [hash(words)] if _is_short(words, ngram) else _runs(words, ngram)
        for run in runs:
            if run in index["runs"]:
                return Leak(index["runs"][run], "words")
        for length in range(SHORTEST_RUN, ngram):
            for run in _runs(words, length):
                if run in index["short_texts"]:
                    return Leak(index["short_texts"][run], "words")
    return None


def drop_passage(example: Example) -> str | None:
    """Return the name of the DROP passage an example is about, if its identifier tells."""
    match = _PASSAGE.search(example.id) if example.source.startswith("drop") else None
    return match[1] if match else None


def _texts(example: Example) -> list[tuple[str, ...]]:
    return [tuple(normalise(text).split()) for text in (example.question, example.context) if text]


def _hops(example: Example) -> list[str]:
    if example.recorded is None or not example.source.startswith(_SELF_CONTAINED_HOPS):
        return []
    return [normalise(text) for text in example.recorded.subquestions if not references(text)]


def _is_short(words: tuple[str, ...], ngram: int) -> bool:
    return SHORTEST_RUN <= len(words) < ngram


def _runs(words: tuple[str, ...], length: int) -> Iterator[int]:
    return (hash(words[start : start + length]) for start in range(len(words) - length + 1))
