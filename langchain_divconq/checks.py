"""Checks of a plan against its question: what it must keep, and what it must not make up. Pure functions.

What a plan fails in is said in words. The rules let pass nearly all of people's own plans: how many is held by
`tests/training_tests/test_guard_on_data.py`.
"""

import re
from collections.abc import Sequence

from langchain_divconq.types import Question
from langchain_divconq.words import (
    HELPERS,
    STEM,
    content_words,
    folded,
    names,
    numbers,
    quoted,
    spoken_numbers,
    stems,
    words,
)

_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nor|neither|nobody|nothing|nowhere|without|except|excluding|exclude|other than|apart from|"
    r"unless|ignoring|hardly (?:any|ever)|cannot|"
    r"\w+n['\u2019]t|dont|doesnt|didnt|isnt|arent|wasnt|werent|cant|wont|hasnt|havent)\b",
    re.I,
)
# Words that have the sense of a negation in them: "unpaid", "out of stock", "missing", "still open".
_NEGATIVE = re.compile(
    r"\b(?:un\w{3,}|in(?:active|valid|complete)|ir\w{4,}|dis\w{3,}|non\w{2,}|\w+less|out of|miss(?:ing|ed)?|lacks?|"
    r"lacking|fail\w*|still|only|left|remain\w*|skip\w*|drop\w*|overdue|outside|avoid\w*|other|else|rather|"
    r"opposite|instead|omit\w*|refus\w*|deni\w*|reject\w*|exempt\w*|before|until|yet|lost|stop\w*|leav\w*|absen\w*|"
    r"short|fewer|less|false)\b",
    re.I,
)
_NO_NEGATION = re.compile(
    r"\bif not\b|\bor not\b|\bwhy not\b|\bnot only\b|\bno matter\b|\bno\. ?\d|\bno longer than\b|\bno (?:more|less|"
    r"fewer|later|earlier) than\b|\b(?:don['\u2019]?t|not) (?:know|sure|remember|recall|understand|mind)\b|"
    r"\b(?:can['\u2019]?t|cannot) (?:remember|find|recall|decide|sleep)\b|\bnever mind\b|\bno\.? of\b|"
    r"^\W*(?:has|have|had|is|are|was|were|do|does|did|can|could|would|should)n['\u2019]?t\b",
    re.I,
)
_EXCLUDED = re.compile(r"\b(?:but not|except(?: for)?|excluding|other than|apart from)\b([^,;?]+)", re.I)
# What these set aside may be asked for, to be compared or subtracted; it must not vanish.
_SET_ASIDE = re.compile(
    r"\b(?:instead of|rather than|leav(?:e|ing) out|all but|omit(?:ting)?|skip(?:ping)?|minus)\b([^,;?]+)", re.I
)
_SENTENCES = re.compile(r"(?<=[.?!])\s+|\n+")
_PART = re.compile(
    r"(?:,|\band\b|\bbut\b)\s+(?:(?:in|on|at|for|from|by|to|with|of|also|if so|then)\s+)?"
    r"(?=(?:who|whom|whose|what|when|where|why|how|does|did|is|are|was|were|has|have|can)\b)",
    re.I,
)
_PAIR = re.compile(
    r"\b(?P<one>[^\W\d_a-z][\w'\u2019-]*)(?:\s+[\w'\u2019-]+){0,2}?(?:,| and| or| than| vs\.?)\s+(?:the |a |an )?"
    r"(?=(?P<other>[^\W\d_a-z][\w'\u2019-]*))"
)
_PREMISE = re.compile(r"\W*(?:if|given|after|before|assuming|suppose|since|once|to|on|in|for|of|at|as|because)\b", re.I)
_PART_STEM = 3  # "logged", "log"
_SHORTENED = 3  # "dec", "December"
_YES_OR_NO = re.compile(rf"\W*(?:{HELPERS}|if)\b", re.I)
_COMPARES = re.compile(r"\b(?:more|less|fewer|first|last|\w{2,}(?:er|est))\b", re.I)
# What a plan may compare things by, how its lines ask for that, and the words of a question or context that let it.
_ATTRIBUTES = {
    "births or deaths": (
        r"born|birth|die[ds]?|death",
        r"born|birth\w*|die[ds]?|dying|death|dead|age[ds]?|old|older|oldest|elder|eldest|young\w*|(?:out)?live[ds]?|"
        r"living|alive|life|surviv\w*",
    ),
    "heights": (
        r"tall|height",
        r"tall\w*|high\w*|height|short\w*|big\w*|larg\w*|small\w*|low\w*|elevation|size|fit\w*",
    ),
    "weights": (
        r"weighs?|weight|heavy",
        r"w[ei]{2}gh\w*|heav\w*|light\w*|mass|big\w*|larg\w*|small\w*|kg|kilos?|pounds?|ton\w*",
    ),
    "populations": (
        r"population",
        r"popul\w*|people|inhabitants|residents|big\w*|larg\w*|small\w*|dens\w*|many|more|most|few\w*",
    ),
}
_WITHOUT = re.compile(r"\b(?:without|no)\W+(?:\w+\W+){0,3}\w+", re.I)
_SENTENCE = re.compile(r"[^.?!\n]*\?")


def fault(plan: Sequence[str], question: Question, demonstration: str = "") -> str | None:
    """Return the first thing that is wrong with a plan, in words; None: nothing that these rules see.

    `demonstration`: the words of the one that the model was shown; empty: it was shown none.
    """
    return (
        _demonstrated(plan, question, demonstration)
        or _unrelated(plan, question)
        or _invented(plan, question)
        or _negation_lost(plan, question)
        or _part_lost(plan, question)
        or _name_lost(plan, question)
        or _attribute_mixed_in(plan, question)
    )


def about_the_context(subquestion: str, question: Question) -> bool:
    """Return whether a subquestion follows a question that stands in the context and has no word of the user's."""
    if question.context is None or "#" in subquestion:
        return False
    asked = stems(subquestion)
    if not asked or asked & stems(question.text):
        return False
    return any(asked <= stems(other) for other in _SENTENCE.findall(question.context))


def _unrelated(plan: Sequence[str], question: Question) -> str | None:
    asked = stems(question.text)
    if not asked:
        return None
    # "cheapest?" is asked of the context, in its words; but not of a question that stands there.
    asked |= stems(_SENTENCE.sub(" ", question.context or ""))
    if any(asked & stems(subquestion) for subquestion in plan):
        return None
    return "the plan shares no word with the question"


def _demonstrated(plan: Sequence[str], question: Question, demonstration: str) -> str | None:
    own = {stem for stem in stems(demonstration) - stems(question.words) if stem.isalpha()}
    copied = own & stems("\n".join(plan))
    # One word in common is chance ("sells"); a name, or several, are not.
    named = {name.casefold()[:STEM] for name in names(demonstration)} & copied
    if len(copied) < 2 and not named:
        return None
    return f"the plan is about the demonstration ({', '.join(sorted(copied))})"


def _invented(plan: Sequence[str], question: Question) -> str | None:
    """Names, numbers and quoted words come from the question or its context."""
    known_words = set(words(folded(question.words)))
    known_stems = {word[:STEM] for word in known_words}
    known_text = folded(question.words)
    known_starts = tuple(word for word in known_words if len(word) >= _SHORTENED)
    for subquestion in plan:
        for name in names(subquestion):
            parts = words(folded(name))
            if not all(one[:STEM] in known_stems or one in known_text or one.startswith(known_starts) for one in parts):
                return f"the plan has a name that the question has not: {name}"
        for quotation in quoted(subquestion):
            if not set(words(quotation)) <= set(words(question.words)):
                return f"the plan quotes what the question does not say: {quotation!r}"
    known = set(numbers(question.words)) | spoken_numbers(question.words)
    for number in numbers("\n".join(plan)):
        if number not in known and number not in known_text:
            return f"the plan has a number that the question has not: {number}"
    return None


def _negation_lost(plan: Sequence[str], question: Question) -> str | None:
    asked = _NO_NEGATION.sub(" ", _asked(question.text))
    text = "\n".join(plan)
    if _YES_OR_NO.match(asked):  # "Is it legal without a licence?" may well be two questions about the licence
        asked = _WITHOUT.sub(lambda match: " " if stems(match[0]) & stems(text) else match[0], asked)
    aside = [wanted for match in _SET_ASIDE.finditer(asked) if (wanted := stems(match[1]))]
    is_lost = not all(wanted & stems(text) for wanted in aside)
    if not _NEGATION.search(asked) and not is_lost:
        return None
    excluded = (stems(match[1]) for match in _EXCLUDED.finditer(asked))
    named = all(not wanted or wanted & stems(text) for wanted in excluded)
    if named and (_NEGATION.search(text) or _NEGATIVE.search(text)):
        return None
    return "the plan loses a negation of the question"


def _part_lost(plan: Sequence[str], question: Question) -> str | None:
    """Every part that asks for itself ("…, and how much did it cost?") has a word in the plan."""
    if _PREMISE.match(_asked(question.text)):
        return None
    written = {word[:_PART_STEM] for word in words("\n".join(plan))}
    parts = _PART.split(_asked(question.text))
    if question.context is not None and len(plan) >= len(parts):
        return None  # "who leads?" may be the context's word for "who starts"
    for part in parts[1:]:
        wanted = {word[:_PART_STEM] for word in content_words(part)}
        if wanted and not wanted & written:
            return f"the plan loses a part of the question: {part.strip(' ,?.')!r}"
    return None


def _name_lost(plan: Sequence[str], question: Question) -> str | None:
    """Of two names that are joined or compared ("the Kell and the Oder"), a plan that has one has the other."""
    asked = _asked(question.text)
    known, written = set(names(asked)), {word[:_SHORTENED] for word in words(folded("\n".join(plan)))}
    for pair in _PAIR.finditer(asked):
        if set(pair.groups()) <= known:
            lost = [name for name in pair.groups() if not any(w[:_SHORTENED] in written for w in words(folded(name)))]
            if len(lost) == 1:
                return f"the plan loses a name of the question: {lost[0]}"
    return None


def _attribute_mixed_in(plan: Sequence[str], question: Question) -> str | None:
    """Who "has been with the company longer" is not told by dates of birth; "older" and "outlived" are."""
    if _YES_OR_NO.match(_asked(question.text)) or not _COMPARES.search(question.text):
        return None
    for attribute, (asked, let) in _ATTRIBUTES.items():
        if sum(_has_word(asked, line) for line in plan) >= 2 and not _has_word(let, question.words):
            return f"the plan asks for {attribute}, which the question does not"
    return None


def _has_word(pattern: str, text: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", text, re.I) is not None


def _asked(text: str) -> str:
    """Return the sentences of a text that ask; where none does, all of it."""
    asking = [sentence for sentence in _SENTENCES.split(text) if sentence.rstrip().endswith("?")]
    return " ".join(asking) or text
