"""QDMR steps ("return #1 that were over 30 yards") → questions. Our own templates.

A formal decomposition takes more steps than a reader needs: a set that is only counted, summed or ranked is asked for
together with what is done to it ("How long was the longest field goal of …?"). The step that ends it often is what the
question itself asks of the steps before (how many, which is more, what is the difference), and is left to the question.
What cannot be put in plain words is left out.
"""

import re

from langchain_divconq.types import fill_references, references
from training.data.plans import normalise_plan

_NAME = r"(?:[Tt]he )?[A-Z][\w.'-]*(?: (?:[A-Z][\w.'-]*|and|of(?= [A-Z])))*"
_VERB = (
    r"(?:is|are|was|were|has|have|had|did|make|makes|made|score|scored|threw|throw|caught|catch|kicked|kick|saw|won|lost|"
    r"ran|led|took|lived?|came|went|fought|spoke|identif\w+|\w+ed)"
)
_LEMMA = {
    form: lemma
    for lemma, forms in {
        "catch": "catch catches caught",
        "complete": "complete completes completed",
        "gain": "gain gains gained",
        "have": "have has had",
        "kick": "kick kicks kicked",
        "lose": "lose loses lost",
        "make": "make makes made",
        "run": "run runs ran",
        "score": "score scores scored",
        "throw": "throw throws threw",
        "win": "win wins won",
    }.items()
    for form in forms.split()
}
_WHEN = r" (?:in|at|during|on|by|before|after|from|between|over) .+"
_COUNT = re.compile(r"(?:the )?number of (#\d+)", re.IGNORECASE)
_SUM = re.compile(r"(?:the )?(?:sum|total) of (#\d+)", re.IGNORECASE)
_RANKED = re.compile(
    r"(?:the )?((?:(?:two|three|second|third|2nd|3rd|top two)[ -])?"
    r"(?:longest|shortest|longer|shorter|highest|lowest|largest|smallest|most|least|first|second|third|last|fourth|final))"
    r" of (#\d+)",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"(?:the )?(?:(?:number|sum|difference|total|average|division|multiplication)\b.*|(?:which|who|what|if|when)\b.*)"
    r"#\d+.*",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(r"(?:the )?(?:sum|difference)\b.*#\d+.*#\d+", re.IGNORECASE)
_BARE = re.compile(r"(?:the )?[a-z-]+(?: [a-z-]+)?")
_FOR_EACH = re.compile(r".*#\d+ for each .*")
_HEAD_END = re.compile(
    r"\s(?=(?:of|in|that|who|which|from|for|by|with|on|to|at|when|where|were|was|are|is|did|during|under|over|between|"
    r"per|after|before|as|above|below|than|among|made|scored|allowed|thrown|caught|sold|there)\b|[A-Z#])"
)
_TEMPLATES = tuple(
    (re.compile(pattern), template)
    for pattern, template in (
        (r"(#\d+) where ((?:#\d+|[^#]+?)) (is|are|was|were) (.+)", "For which of {0} {2} {1} {3}"),
        (r"(#\d+) (?:besides|except|excluding) (#\d+)", "Which of {0} are not among {1}"),
        (rf"(#\d+) (?:that|who|which) ({_VERB}\b.*)", "Which of {0} {1}"),
        (r"(#\d+) ((?:in|on|at|under|over|during|with|after|before|from|longer|shorter|more|less|by|of)\b.*)",
         "Which of {0} are {1}"),
        (rf"(?:the )?([\w' -]*?(?:people|persons?|players?|teams?|kickers?|quarterbacks?|receivers?|men|women)) "
         rf"(?:that|who|which) ({_VERB}\b.*)", "Which {0} {1}"),
        (r"(?:the )?yards? (?:of|for|from) (?:the |each )?(#\d+)", "How many yards is each of {0}"),
        (r"(?:the )?yards? (?:of|for|from) (?:the )?(.+)", "How many yards {were} the {0}"),
        (rf"(?:the )?points (?:of|by|from|for) ({_NAME})((?:{_WHEN})?)", "How many points did {0} score{1}"),
        (rf"(?:the )?points (?:that )?({_NAME}) (?:did )?(?:scored?|made|had)((?:{_WHEN})?)",
         "How many points did {0} score{1}"),
        (rf"(?:the )?(?:first[- ]half |second[- ]half )?points(?: scored)?({_WHEN})", "How many points were scored{0}"),
        (rf"(?:the )?percent(?:age)? of (.+?) (?:that|who|which) ({_VERB}\b.*)", "What percentage of {0} {1}"),
        (rf"(?:the )?percent(?:age)? (?:that|who|which) ({_VERB}\b.*)", "What percentage {0}"),
        (r"(?:the )?number of (.+)", "How many {0} are there"),
        (r"(?:the )?year (?:that |in which |when )?(.+) did (\w+)(.*)", "In which year did {0} {1}{2}"),
        (r"(?:the )?year (?:that |in which |when )?(.+?) (was|were) (.+)", "In which year {1} {0} {2}"),
        (r"((?:when|where|how (?:\w+ )?|why) ?(?:is|are|was|were|did|do|does)\b.+)", "{0}"),
        (r"(how (?:many|much)\b.+|(?:who|what) [a-z].+)", "{0}"),
    )
)  # fmt: skip
_COUNTS = tuple(
    (re.compile(pattern), template)
    for pattern, template in (
        (rf"(.+?) (?:that|who|which) ({_VERB}\b.*)", "How many {0} {1}"),
        (rf"(.+?) (?:of|by|from|for) ({_NAME})((?:{_WHEN})?)", "How many {0} did {1} have{2}"),
        (r"(.+?) ((?:sold|made|won|lost|killed|\w+ed) (?:in|by|from|during|at|on)\b.*)", "How many {0} were {1}"),
        (r"(.+?)(?: that)? there (?:are|were)", "How many {0} were there"),
        (rf"((?:(?!that|who|which)[\w'-]+ )*(?!that|who|which)[\w'-]+)({_WHEN})", "How many {0} were there{1}"),
        (r"((?:\w+ )*[\w/'-]+)", "How many {0} were there"),
    )
)
_DONE_BY = re.compile(rf"(.+?) (?:that |which )?({_NAME}) (?:did |has |have )?(\w+)((?: .*)?)")


def ask_steps(decomposition: str) -> tuple[str, ...] | None:
    """Return the steps of a decomposition as questions, uncapped; empty: the question is one step.

    None where a step cannot be put in words.

    The steps are joined by semicolons, each beginning with "return".
    """
    steps = [_tidy(step) for step in decomposition.split(";") if step.strip()]
    if len(steps) > 1 and _FINAL.fullmatch(steps[-1]):
        steps = steps[:-1]
    while len(steps) > 1 and _ARITHMETIC.fullmatch(steps[-1]):
        steps = steps[:-1]
    if len(steps) > 1 and _BARE.fullmatch(steps[0]):
        return None  # "What are the players?" helps no one
    asked: list[str] = []
    known: dict[int, str] = {}  # what stands for each step: a reference to what is asked, or words still to be asked
    for at, step in enumerate(steps, start=1):
        users = [later for later in steps[at:] if at in references(later)]
        if not references(step) and users and all(_absorbs(later, at) for later in users):
            known[at] = step
            continue
        question = _merged(step, known)
        if question is None:
            if not all(known[n].startswith("#") for n in references(step)):
                return None
            question = _ask(fill_references(step, known))
        if question is None:
            return None
        asked.append(question + "?")
        known[at] = f"#{len(asked)}"
    return () if len(asked) == 1 else normalise_plan(asked)


def _absorbs(step: str, number: int) -> bool:
    patterns = (_COUNT, _SUM, _RANKED)
    return any(
        (match := pattern.fullmatch(step)) and match[match.lastindex or 1] == f"#{number}" for pattern in patterns
    )


def _merged(step: str, known: dict[int, str]) -> str | None:
    """Return one question for a set and what is done to it; None where the step does nothing of the kind."""
    for pattern, ask in ((_COUNT, _ask_count), (_SUM, _ask_sum), (_RANKED, None)):
        if match := pattern.fullmatch(step):
            words = known[int(match[match.lastindex or 1][1:])]
            if words.startswith("#"):
                return None if pattern is _RANKED else f"How many of {words} are there" if ask is _ask_count else None
            words = words.removeprefix("the ")
            return ask(words) if ask else _ask_ranked(match[1], words)
    return None


def _ask_count(words: str) -> str | None:
    words = re.sub(r"^yards? (?:of|for|from) (?:the )?", "", words)
    if (match := _DONE_BY.fullmatch(words)) and match[3] in _LEMMA:
        return f"How many {match[1]} did {match[2]} {_LEMMA[match[3]]}{match[4]}"
    return next((form.format(*match.groups()) for shape, form in _COUNTS if (match := shape.fullmatch(words))), None)


def _ask_sum(words: str) -> str | None:
    if match := re.fullmatch(r"yards? (?:of|for|from) (?:the )?(.+)", words):
        if re.fullmatch(_NAME, match[1]):
            return None
        return f"How many yards in total were the {match[1]}"
    return _ask(words) if words.startswith(("points", "number")) else f"What is the total of the {words}"


def _ask_ranked(rank: str, words: str) -> str:
    yards = re.fullmatch(r"yards? (?:of|for|from) (?:the )?(.+)", words)
    things = yards[1] if yards else words
    if (match := _DONE_BY.fullmatch(things)) and match[3] in _LEMMA:
        things = f"{match[1]} of {match[2]}{match[4]}"
    several = rank.startswith(("two", "three", "top"))
    if not several:
        head, *rest = _HEAD_END.split(things, maxsplit=1)
        things = " ".join([_singular(head), *rest])
    verb = "were" if several else "was"
    return f"{'How many yards' if yards else 'What'} {verb} the {rank} {things}"


def _ask(step: str) -> str | None:
    if _FOR_EACH.fullmatch(step):
        return None
    for pattern, template in _TEMPLATES:
        if match := pattern.fullmatch(step):
            were = "were" if _is_plural(match.groups()[-1] or "") else "was"
            return template.format(*match.groups(), were=were)
    if re.match(r"(?:the )?(?:if|which|when|how|where|years? (?:when|that)|year )\b", step) or re.match(r"#\d+ ", step):
        return None
    if (match := _DONE_BY.fullmatch(step)) and match[3] in _LEMMA and not references(step):
        return f"Which {match[1].removeprefix('the ')} did {match[2]} {_LEMMA[match[3]]}{match[4]}"
    verb = "are" if _is_plural(step) else "is"
    return f"What {verb} {step if step.startswith(('the ', 'a ')) else 'the ' + step}"


def _is_plural(words: str) -> bool:
    head = _HEAD_END.split(words, maxsplit=1)[0].strip()
    return re.search(r"(?:[^sui]s|ses|people|men|women|children)$|\b(?:two|three)\b", head) is not None


def _singular(head: str) -> str:
    if head.endswith(("sses", "ches", "shes")):
        return head[:-2]
    return head[:-3] + "y" if head.endswith("ies") else head[:-1] if re.search(r"[^sui]s$", head) else head


def _tidy(step: str) -> str:
    text = " ".join(step.split()).removeprefix("return ").strip()
    text = re.sub(r"^(?:How|When|What|Who|Where)\b", lambda match: match[0].lower(), text)
    return re.sub(r" (?=[,.%]|'s\b)", "", text)
