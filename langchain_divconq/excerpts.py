"""Picks what of a long context a decomposer is shown: the sentences that a plan needs. Pure functions, no dependency.

A plan follows from what is asked; what the context tells is the solver's to read. Reading is nearly all that a small
model on a laptop spends on a question with a long context, so it is shown the part that has to do with the question.
"""

import re
from itertools import pairwise

from langchain_divconq.words import stems

CONTEXT_BUDGET = 700
"""Most characters of a context that a decomposer is shown: as many as in the longest context that students were taught
with, and so few that a plan for a context of 1,000 tokens takes less than a third of the time that reading it takes."""

LEFT_OUT = " … "
"""Stands between two sentences that do not follow each other in the context."""

# Not behind an initial ("J. Smith") or a title. What is taken for one wrongly joins two sentences, which does no harm.
_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Mr|Ms|Dr|St|Jr|No))(?<!\bMrs)[.!?\u061f][\"')\]\u201d\u2019]* (?![a-z])"
    r"|\n(?![a-z])|[\u3002\uff01\uff1f]"
)
# What runs on beyond the budget is cut into pieces, two of which fit, at a word where there is one.
_MOST = (CONTEXT_BUDGET - len(LEFT_OUT)) // 2
_PIECE = re.compile(rf"\S.{{0,{_MOST - 1}}}(?!\S)|\S{{{_MOST}}}", re.DOTALL)


def excerpt(context: str, question: str) -> str:
    """Return a context as a decomposer is shown it: as it is where it keeps to the budget, else sentences of it.

    The sentences with most content words of the question come first, the earlier one where two have as many, as long as
    they fit; the rest is filled up from the beginning. They stand in their own order, blanks between words made one.
    """
    if len(context) <= CONTEXT_BUDGET:
        return context
    lines = (" ".join(line.split()) for line in context.splitlines())
    text = "\n".join(line for line in lines if line)
    if len(text) <= CONTEXT_BUDGET:
        return text
    spans = _sentences(text)
    kept = _chosen(text, spans, stems(question))
    shown = text[slice(*spans[kept[0]])]
    for before, at in pairwise(kept):
        start, end = spans[at]
        shown += text[spans[before][1] : end] if at == before + 1 else f"{LEFT_OUT}{text[start:end]}"
    return shown


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return where each sentence begins and ends, blanks at its ends left out; none is longer than the budget."""
    found: list[tuple[int, int]] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        length = len(text[start:end].rstrip())
        if length > CONTEXT_BUDGET:
            pieces = (match.span() for match in _PIECE.finditer(text, start, start + length))
            found += [(begin, begin + len(text[begin:stop].rstrip())) for begin, stop in pieces]
        elif length:
            found.append((start, start + length))
        start = end
    return found


def _chosen(text: str, spans: list[tuple[int, int]], asked: set[str]) -> list[int]:
    """Return the numbers of the sentences that are shown, ascending."""
    shared = [len(asked & stems(text[start:end])) for start, end in spans]
    kept, left = [], CONTEXT_BUDGET + len(LEFT_OUT)
    for at in sorted(range(len(spans)), key=lambda at: (-shared[at], at)):
        start, end = spans[at]
        if (cost := end - start + len(LEFT_OUT)) <= left:
            kept.append(at)
            left -= cost
        elif not shared[at]:
            break  # what fills up is the beginning; a later sentence is not shown for being short
    return sorted(kept)
