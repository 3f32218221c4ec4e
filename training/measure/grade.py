"""A grade for a plan beside a gold plan of the everyday questions. Pure functions over words; no model judges.

A plan is good when the decision to divide is right, every gold subquestion is met by one of its own, references stand
where the gold plan has them, nothing is invented, and it has at most one subquestion more than the gold plan.

Words count without their endings and by their first five letters, since "flows" and "flowing", "directed" and
"director" ask for the same.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise, product

from pydantic import Field

from langchain_divconq.types import references
from training.example import Example
from training.measure.records import Used
from training.store import Frozen

MET = 0.65
"""A gold subquestion is met by one that has at least this share of the words it takes from the question."""

_STEM = 5
_ENDING = re.compile(r"(?<=\w{3})(?:ings?|ies|ied|ers?|ed|es|s|e|y|i)$")
_TOKEN = re.compile(r"#\d+|\d+(?:[.,:]\d+)*|[^\W\d_]+(?:[&.][^\W\d_]+)*")
_UNSPACED = re.compile("[\u3040-\u9fff]")
_HEAD = re.compile(r"\b(?:which|what)\s+(\w+)", re.IGNORECASE)
_FUNCTION = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of in on at by for with from to into and or but if than then as that this these those there here it
        its is are was were be been being am do does did has have had can could will would shall should may might
        must not no who whom whose what which when where why how i me my mine we us our ours you your yours he him
        his she her hers they them their s t d ll re ve m please tell also just any all both each most used
        """,
    )
)
# Words that ask for the same thing. The first stands for the others.
_SAME = (
    "born birth birthplace birthday",
    "write wrote written writer author",
    "long length",
    "high height tall",
    "old age",
    "big size large",
    "far distance",
    "heavy weight weigh",
    "cost price",
    "wife husband spouse married marry",
    "find found founded founder founds started start starter",
    "make makes made maker manufacturer manufactures",
    "own owns owner owned",
    "run runs ran head heads headed",
    "die died death dies",
    "teach taught teacher teaches",
    "invent inventor invented",
    "lead leader led leads",
    "sing singer sang sung performer performed",
    "speak spoke spoken speaks",
    "begin began begun begins",
    "blow blew blown",
    "break broke broken",
    "buy bought",
    "choose chose chosen",
    "draw drew drawn",
    "fall fell fallen",
    "give gave given",
    "go went gone attend attended attends",
    "grow grew grown",
    "hold held",
    "keep kept",
    "leave left",
    "lose lost",
    "meet met",
    "pay paid",
    "rise rose risen",
    "see saw seen",
    "use uses used using",
    "sell sold sales",
    "send sent",
    "spend spent",
    "take took taken",
    "build built builder",
    "win won winner",
    "study studied studies",
)
# Words that ask, place and compare: they tell nothing that a question would have to hold.
_ASKING = """
    located attend go own member equal greater less lower below above more fewer same different person people thing
    place name kind type date day month time number amount percent occur happen available belong take part has come from
"""
# Plans that may narrow in another order or be cut the other way, as the data's README says: their words are pooled.
_POOLED = frozenset({"dev-057", "dev-065", "dev-069", "dev-071", "dev-112", "dev-134"})


class Grade(Frozen):
    """What is right and wrong with one plan, without its words."""

    id: str
    kind: str
    gold: int
    """How many subquestions the gold plan has; 0: the question stays whole."""
    written: int
    """How many the plan has."""
    decision: bool
    """Whether dividing, or leaving whole, is right; in another language than English both are."""
    met: int
    """How many gold subquestions are met."""
    linked: bool
    """Whether references stand where the gold plan has them."""
    invented: bool
    """Whether the plan has a name, a number or a word of content that neither question nor context has."""
    confidence: float | None = None
    """The decomposer's own confidence in the plan."""
    no_plan: str | None = None
    """Why no plan could be read from the reply, in a short phrase of a fixed set: the question stayed whole. None: it
    could."""
    used: dict[str, Used] = Field(default={})
    """What was used, by the name of the decomposer: the arm's, or those of its stages in the order they were asked.
    Empty: no model was asked, or (of all records of an arm) nobody counted."""

    @property
    def seconds(self) -> float:
        """Seconds spent waiting for models."""
        return sum(used.seconds for used in self.used.values())

    @property
    def good(self) -> bool:
        """Whether the plan is good, or rightly none."""
        if not self.written:
            return self.decision
        fits = self.met == self.gold and self.linked and self.written <= self.gold + 1
        return self.decision and fits and not self.invented

    @property
    def harmful(self) -> bool:
        """Whether the user is worse off with the plan: the question should stay whole, or something is invented."""
        return self.written > 0 and (self.invented or self.gold == 0)


def grade(example: Example, plan: Sequence[str], *, kind: str, language: str = "en", asking: frozenset[str]) -> Grade:
    """Return the grade of a plan.

    Args:
        example: The question, with the gold plan as recorded.
        plan: The subquestions to grade.
        kind: The kind of question, for a table by kinds.
        language: The question's.
        asking: Words a plan may bring in, by their first letters; see `asking_words`.
    """
    gold = example.recorded.subquestions if example.recorded else ()
    decision = bool(plan) == bool(gold) or (language != "en" and not plan)
    met, linked = _compare(example, gold, plan) if gold and plan else (0, True)
    return Grade(
        id=example.id.rpartition("/")[2],
        kind=kind,
        gold=len(gold),
        written=len(plan),
        decision=decision,
        met=met,
        linked=linked,
        invented=bool(invented_words(example, plan, asking)),
    )


def asking_words(examples: Iterable[Example]) -> frozenset[str]:
    """Return the words that ask: a few of ours, and those that the plans of demonstrations bring in."""
    brought = words(_ASKING)
    for example in examples:
        plan = example.recorded.subquestions if example.recorded else ()
        added = set().union(*map(words, plan)) - _given(example)
        brought |= {word for word in added if not word[0].isdigit()}
    return frozenset(brought)


def invented_words(example: Example, plan: Sequence[str], asking: frozenset[str]) -> set[str]:
    """Return the words of content in a plan that neither the question, its context nor the craft of asking has.

    A word that begins with a capital inside a subquestion is a name, and a name has to be given. What the gold plan
    says is not invented.
    """
    gold = example.recorded.subquestions if example.recorded else ()
    given = _given(example).union(*map(words, gold))
    found = set()
    for text in plan:
        names = {word for token in _TOKEN.findall(text)[1:] if token[0].isupper() for word in words(token)}
        found |= (words(text) - given - asking) | (names - given)
    return found


def words(text: str) -> set[str]:
    """Return a text's words of content, shortened; characters where a script has no spaces; no references."""
    found = set()
    for token in _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if token[0] == "#" or token in _FUNCTION:
            continue
        pieces = list(token) if _UNSPACED.search(token) else [token]
        found |= {_ALIKE.get(piece) or _stem(piece) for piece in pieces}
    return found


def _stem(word: str) -> str:
    return word if word[0].isdigit() else _ENDING.sub("", word)[:_STEM]


_ALIKE = {word: _stem(line.split()[0]) for line in _SAME for word in line.split()}


def _given(example: Example) -> set[str]:
    return words(f"{example.context or ''} {example.question}")


def _compare(example: Example, gold: Sequence[str], plan: Sequence[str]) -> tuple[int, bool]:
    """Return how many gold subquestions are met, and whether those that need an answer say so."""
    if example.id.rpartition("/")[2] in _POOLED:
        return _pooled(example, gold, plan)
    given = _given(example)
    wanted = [_wanted(text, given) for text in gold]
    offered = [words(text) for text in plan]
    # The subquestions that may meet each gold one; None: it is not met.
    places = [[*(at for at, has in enumerate(offered) if len(one & has) >= MET * len(one)), None] for one in wanted]

    def worth(chosen: dict[int, int]) -> float:
        alike = sum(_alikeness(words(gold[at]), offered[place]) for at, place in chosen.items())
        return len(chosen) + alike / 10 if len({*chosen.values()}) == len(chosen) else -1.0

    every = ({at: place for at, place in enumerate(one) if place is not None} for one in product(*places))
    chosen = max(every, key=worth)
    needed = sum(len(references(text)) for text in gold)
    return len(chosen), len(chosen) < len(gold) or _links(gold, plan, chosen) == needed


def _links(gold: Sequence[str], plan: Sequence[str], chosen: dict[int, int]) -> int:
    """Count the gold plan's references that the plan has between the subquestions that meet those."""
    return sum(
        chosen.get(reference - 1, -2) + 1 in references(plan[place])
        for at, place in chosen.items()
        for reference in references(gold[at])
    )


def _pooled(example: Example, gold: Sequence[str], plan: Sequence[str]) -> tuple[int, bool]:
    given = _given(example)
    wanted = set().union(*(_wanted(text, given) for text in gold))
    covered = len(wanted & set().union(*map(words, plan))) >= 0.8 * len(wanted)
    enough = covered and len(plan) >= min(2, len(gold))
    needs = any(references(text) for text in gold)
    linked = not needs or any(references(later) for _, later in pairwise(plan))
    return (len(gold) if enough else 0), linked


def _alikeness(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def _wanted(text: str, given: set[str]) -> set[str]:
    """Return the words a subquestion must share with a gold one: those the question has, but for what is asked for."""
    heads = set().union(*map(words, _HEAD.findall(text)))
    found = words(text)
    return (found & given) - heads or found & given or found
