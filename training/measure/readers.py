"""Readers, which fill in a reference: with a gold answer, or what a chat model reads."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_divconq.calls import as_message
from langchain_divconq.prompts import reading_prompt
from langchain_divconq.retrieval import Reading, parse_reading
from training.measure.config import Fill
from training.measure.corpus import Hop
from training.measure.models import why_failed
from training.scoring import same_answer

_CANDIDATES = "If two answers are about as likely, write both on that line, the likelier first, with a | between them."

_WORD = re.compile(r"\w+")
_IDLE = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "did", "do", "does", "for", "from", "given", "had", "has", "have"}
    | {"he", "her", "his", "how", "in", "is", "it", "its", "of", "on", "or", "she", "that", "the", "their", "there"}
    | {"they", "this", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "with"}
)


_ALIKE = 0.25
"""Likeness from which on a hop's gold answer is taken for that to a subquestion: below, most ask for something else."""


def matching_hop(subquestion: str, hops: Sequence[Hop]) -> Hop | None:
    """Return the hop that a subquestion, references filled, asks for: the one with its very words, or most of them.

    Function words do not count. None: no word is shared with any hop.
    """

    def alike(hop: Hop) -> tuple[bool, float]:
        return hop.filled.casefold() == subquestion.casefold(), _likeness(subquestion, hop)

    best = max(hops, key=alike, default=None)  # of equals, the first
    return best if best and any(alike(best)) else None


def gold_answer(subquestion: str, hops: Sequence[Hop]) -> str | None:
    """Return the gold answer to a subquestion that an earlier hop asks in much the same words; None: there is none.

    Never the last hop's: that is the answer to the question itself, which no plan is given.
    """
    hop = matching_hop(subquestion, hops)
    is_known = hop is not None and hop is not hops[-1] and _likeness(subquestion, hop) >= _ALIKE
    return hop.answer if is_known and hop else None


def _likeness(subquestion: str, hop: Hop) -> float:
    """Return the share of the words of both that they have in common."""
    asked, wanted = ({*_WORD.findall(text.casefold())} - _IDLE for text in (subquestion, hop.filled))
    return len(asked & wanted) / len(asked | wanted) if asked | wanted else 0.0


@dataclass
class Reader(Runnable[Any, Any]):
    """Answers the subquestions of one question, and keeps account."""

    fill: Fill
    """What it answers with."""
    hops: Sequence[Hop]
    """The question's."""
    model: Runnable[Any, Any] | None = None
    """What reads, for the fill "sequential"."""
    right: list[bool | None] = field(default_factory=list)
    """Of each answer given, whether it, or one of two, is the gold answer of its hop; None: it belongs to none."""
    failure: str | None = None
    """Why the model gave no reply, the last time it gave none."""

    def invoke(self, input: Reading, config: RunnableConfig | None = None, **kwargs: Any) -> list[str]:
        """Return the answers to a subquestion, likeliest first; none: there is none."""
        return asyncio.run(self.ainvoke(input, config))

    async def ainvoke(self, input: Reading, config: RunnableConfig | None = None, **kwargs: Any) -> list[str]:
        """Return the same without blocking the event loop."""
        subquestion = input["subquestion"]
        hop = matching_hop(subquestion, self.hops)
        if self.model is not None and self.fill in ("sequential", "candidates"):
            answers = await self._read(self.model, input, config)
        else:
            known = gold_answer(subquestion, self.hops) if self.fill == "oracle" else None
            answers = [] if known is None else [known]
        if answers:
            self.right.append(None if hop is None else any(same_answer(answer, hop.answer) for answer in answers))
        return answers

    @property
    def read(self) -> int:
        """How many answers it gave."""
        return len(self.right)

    @property
    def read_right(self) -> int | None:
        """How many of them are right; None: one belongs to no hop."""
        return None if None in self.right else sum(map(bool, self.right))

    async def _read(self, model: Runnable[Any, Any], given: Reading, config: RunnableConfig | None) -> list[str]:
        prompt = reading_prompt(given["subquestion"], [document.page_content for document in given["documents"]])
        if self.fill == "candidates":
            prompt = [HumanMessage(f"{prompt[0].text} {_CANDIDATES}")]
        try:
            answer = parse_reading(as_message(await model.ainvoke(prompt, config)).text)
        except ContextOverflowError:
            raise  # the library goes on without this answer, and says so
        except Exception as error:  # whatever a provider's package raises
            self.failure = why_failed(error)
            return []
        if answer is None:
            return []
        return [part for part in map(str.strip, answer.split("|")) if part] if self.fill == "candidates" else [answer]
