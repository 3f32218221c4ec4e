"""The queries of a plan: references filled in, repeats and empty ones left out. Pure functions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document

from langchain_divconq.types import Decomposition

MOST_CANDIDATES = 2
"""Of several answers to one subquestion, so many are searched with."""

_BLANK = "\0"
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]")
_PARENTHESES = re.compile(r"\s*\([^)]*\)\s*$")
# What a subquestion says without asking for anything that a document tells: comparing two answers is no search.
_IDLE = frozenset(
    {"a", "an", "and", "any", "are", "as", "at", "be", "been", "both", "by", "can", "did", "do", "does", "for", "from"}
    | {"had", "has", "have", "he", "her", "his", "how", "if", "in", "is", "it", "its", "many", "much", "not", "of"}
    | {"on", "one", "or", "she", "so", "than", "that", "the", "their", "them", "then", "there", "these", "they"}
    | {"this", "those", "to", "two", "was", "were", "what", "when", "where", "which", "who", "whom", "whose", "why"}
    | {"will", "with", "would", "after", "before", "earlier", "equal", "fewer", "greater", "higher", "larger", "later"}
    | {"less", "longer", "lower", "more", "older", "same", "shorter", "smaller", "younger", "different", "between"}
)
_CHOICE = re.compile(
    r"^(?:(?P<in>at|by|for|from|in|of|on|to|with) )?(?:which|what) "
    r"(?!(?:is|are|was|were|do|does|did|has|have|had|of)\b)(?P<kind>\w+) "
    r"(?:(?:do|does|did) |(?P<be>is|are|was|were) )?(?P<rest>\w.*)",
    re.IGNORECASE,
)
_QUESTION_WORDS = re.compile(
    r"^(?:(?:at|by|for|from|in|of|on|to|with) )?"
    r"(?:who|whom|whose|what|which|where|when|why|how(?: long| many| much| old)?)\b"
    r"\s*(?:(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would)\b\s*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Query:
    """What may be searched for: a subquestion by its number, references filled in; number 0: the whole question.

    It is complete where every reference was filled with an answer that was read.
    """

    number: int
    text: str
    is_complete: bool = True

    @property
    def run_name(self) -> str:
        """What the search is called in a trace."""
        return f"divconq:subquestion-{self.number}" if self.number else "divconq:question"

    @property
    def key(self) -> str:
        """What two queries share that find the same: their words, in lower case."""
        return " ".join(_WORD.findall(self.text.casefold())) or self.text


@dataclass(frozen=True)
class Hop:
    """A subquestion that has been searched for, by its number from 1: references filled in, documents best first.

    The answers are those that were read in them, likeliest first; empty: nothing.
    """

    number: int
    asked: str
    documents: Sequence[Document] = ()
    answers: tuple[str, ...] = ()

    @property
    def stand_in(self) -> str:
        """What a later subquestion says in the place of an answer that was not read.

        The title of the best document, where it has one: that names what the subquestion asks for, or what it is about.
        Else the subquestion's own words, without those that ask.
        """
        title = self.documents[0].metadata.get("title") if self.documents else None
        return (_PARENTHESES.sub("", title).strip() if isinstance(title, str) else "") or noun_phrase(self.asked)

    @property
    def answer(self) -> str | None:
        """The likeliest answer; None: nothing was read."""
        return self.answers[0] if self.answers else None

    def at(self, rank: int) -> str:
        """Return what takes a reference's place: the answer of a rank, from 0, or the last, or the stand-in."""
        return self.answers[min(rank, len(self.answers) - 1)] if self.answers else self.stand_in


def make_queries(plan: Decomposition, number: int, earlier: Mapping[int, Hop]) -> tuple[Query, ...]:
    """Return a subquestion with its references filled in: one query, two where a reader named two answers."""
    needed = [earlier[reference] for reference in plan.needs(number)]
    is_complete = all(hop.answers for hop in needed)
    ranks = range(min(max((len(hop.answers) for hop in needed), default=1) or 1, MOST_CANDIDATES))
    texts = [plan.filled(number, {hop.number: hop.at(rank) for hop in needed}) for rank in ranks]
    return tuple(Query(number, text, is_complete) for text in dict.fromkeys(" ".join(text.split()) for text in texts))


def noun_phrase(subquestion: str) -> str:
    """Return a question as what it asks for: "In which town is the mill?" is "the town in which the mill is"."""
    text = subquestion.strip().rstrip("?").strip()
    if choice := _CHOICE.match(text):
        said, be = choice["rest"], choice["be"]
        if choice["in"]:
            return " ".join(filter(None, ("the", choice["kind"], choice["in"].lower(), "which", said, be)))
        return " ".join(filter(None, ("the", choice["kind"], "that", be, said)))
    return _QUESTION_WORDS.sub("", text, count=1).strip() or text


def is_searchable(plan: Decomposition, number: int, is_complete: bool) -> bool:
    """Return whether a subquestion, as written, says what to look for beside the answers it refers to.

    "Where is #1?" has no words of its own either, but is worth a search once it is known where; a comparison is not.
    """
    blank = plan.filled(number, dict.fromkeys(plan.needs(number), _BLANK))
    own = _WORD.findall(blank.casefold())
    if any(_LETTER.search(word) and word not in _IDLE for word in own):
        return True
    return bool(own) and is_complete and blank.count(_BLANK) == 1
