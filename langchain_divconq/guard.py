"""Questions that are left whole without asking the model: it costs nothing, and the model would do harm.

Every rule is a pure function of the question's own words, and is built to be silent where it is not sure: what it lets
pass, the model still may leave whole.
"""

from __future__ import annotations

import re

from langchain_divconq.languages import other_language
from langchain_divconq.types import Question
from langchain_divconq.words import FUNCTION_WORDS, UNSPACED, content_words, users_hashes, words

FEWEST_WORDS = 3
"""A question with fewer content words holds no two facts: "Who wrote Middlemarch?" has two."""

_YES_OR_NO = re.compile(
    r"\W*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|might|may)\b", re.I
)
_KIN = re.compile(
    r"\b(?:grand\w+|great-\w+|uncle|aunt|nephew|niece|cousin|step\w+|half-\w+|\w+(?:-| )in(?:-| )law|sibling)s?\b", re.I
)
_ASKS = re.compile(r"\b(?:who|whom|whose|whoever|which|whichever|what|whats|when|where|why|how|whether)\b", re.I)
_OPENING = re.compile(
    r"\W*(?:hi|hiya|hello|hey|yo|good (?:morning|afternoon|evening|night|day)|greetings|thanks|thank you|thx|cheers|"
    r"ta|great|perfect|nice|cool|awesome|excellent|wonderful|lovely|ok|okay|k|fine|alright|all right|right|sure|yes|"
    r"yep|yeah|yup|no|nope|nah|not really|never ?mind|go ahead|do it|continue|go on|stop|sorry|bye|goodbye|see you|"
    r"good job|well done|got it|i see|understood|agreed|correct|exactly|welcome|please do|no problem|no worries|"
    r"(?:that )?(?:sounds|looks) (?:good|great|fine|right)|that works|works for me|will do|good to know|makes sense|"
    r"same here|me too|you too|ha(?:ha)+|lol|take care|have a (?:good|nice|great)|talk (?:soon|later)|my pleasure)\b",
    re.I,
)
_LONGEST_PLEASANTRY = 12
# How a statement begins, and what makes it one: "My order number is 4711." "I already tried that."
_TOLD_OF = re.compile(
    r"\W*(?:(?:well|so|but|and|also|actually|sorry|yes|no|ok|okay|fyi)\W+)*"
    r"(?:(?:i|we|he|she|they|it|you|that|this|there)(?:['\u2019](?:m|re|s|ve|d|ll))?\b|"
    r"(?:my|our|your|his|her|their|the|a|an|this|that|these|those)\b(?:(?!\bthat\b)[^,;:])*?\b"
    r"(?:is|are|was|were|isn['\u2019]t|aren['\u2019]t|wasn['\u2019]t|weren['\u2019]t|has been|have been|will be)\b)",
    re.I,
)
_WISHES = re.compile(
    r"\b(?:need|want|wants|wanted|looking|like|love|wonder\w*|curious|trying|wish|must|should|help|know|hear|see|"
    r"decide|torn|after|deciding|hoping|interested|unsure|asked|asking|guess|calculate|compute|give|show|get|please|"
    r"forget\w*|forgot\w*|remember|recall|figure)\b"
    r"|[,;:\u2013-]\s*(?:(?:and|so|but) )?(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)\b",
    re.I,
)
_SENTENCES = re.compile(r"(?<=[.!])\s+|\n+")
_SEEKS = re.compile(r"\b(?:find|compare|list|name|tell me|look up|check)\b", re.I)
_ADDITION = re.compile(r"\W*(?:and|but|or|(?:and )?(?:what|how) about|same (?:as|for)|also)\b", re.I)
_PRONOUN = re.compile(r"(?:it|its|he|him|his|she|her|hers|they|them|their|theirs|this|that|these|those|one|ones|there)")
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|does|did|might|could) it (?:be |take |true|possible|better|worse|cheaper|legal|faster|"
    r"safe|common|necessary|easier|ever)|\b(?:is|are|was|were|has|have|had) there\b|\bthere (?:is|are|was|were)\b",
    re.I,
)

# Verbs that begin an order to do or to write something. "Find", "check", "compare", "list", "name" look something up.
_ORDERS = """
    add archive arrange book call cancel clean close compose convert copy create cut delete describe disable dim
    draft draw edit email enable explain fix format forward generate give improve increase install invent invite
    lower make mark message move mute open order pause play post print proofread put raise read remind remove
    rename reply rephrase reschedule restart resume rewrite run save schedule send set share shorten show shut
    skip sort start stop submit sum summarise summarize switch text translate turn type undo uninstall unmute
    update upload volume wake write"""
_VERBS = "|".join(_ORDERS.split())
# "sending", "writing", "setting"
_DOING = "|".join(rf"{verb.removesuffix('e')}{verb[-1]}?ing" for verb in _ORDERS.split())
_FILLERS = r"\W*(?:(?:please|kindly|now|just|then|hey|hi|ok|okay|so|also|maybe)\W+)*"
_POLITELY = (
    r"(?:(?:can|could|would|will) (?:you please|someone|somebody)|(?:could|would|will) you|"
    r"(?:i|we) (?:need|want|would like) (?:you )?to|"
    r"(?:i|we)['\u2019]d like (?:you )?to|let['\u2019]?s|let us|help me(?: to)?|go ahead and|be sure to|"
    r"(?:remember|make sure|don['\u2019]?t forget|do not forget) to|(?:i|we) have to)\W+"
)
_ORDER = re.compile(
    rf"{_FILLERS}(?:{_POLITELY}{_FILLERS})?(?:{_VERBS})\b"
    # "Can you order a book on a train?" asks what one can do.
    rf"|{_FILLERS}can you {_FILLERS}(?:{_VERBS})\b(?!\s+(?:an?|any|some|\w+s)\b)"
    rf"|{_FILLERS}(?:would|do) you mind{_FILLERS}\W(?:{_DOING})\b",
    re.I,
)
# What an order has in it when something must be found out first: a clause about something unnamed, a choice, a look-up.
_LOOKED_UP = re.compile(
    r"\b(?:wh(?:o|om|ose|oever|ich|ichever|at|atever|en|ere|ether)|how|that|if|than|whatever|from|of|by|our|my|their|"
    r"most|least|best|worst|highest|lowest|latest|last|first|next|previous|cheapest|cheaper|better|all|each|both|any|new|"
    r"missing|average|total|find|check|compare|research|look|verify|collect|get|see|need|according|so|since|until|"
    r"before|after|as|against|\w{3,}est)\b",
    re.I,
)


def reason_to_leave_whole(question: Question, *, english_only: bool) -> str | None:
    """Return why a question is not shown to the model, in words; None: nothing speaks against it."""
    text = question.text.strip()
    if not any(character.isalpha() for character in text):
        return "it holds no words"
    if (language := other_language(text)) is not None:
        return f"it is {language}, and the decomposer was taught English" if english_only else None
    if is_pleasantry(text) or is_statement(text):
        return "it is a turn of a conversation and asks nothing"
    if leans_on_earlier_turns(question):
        return "it leans on earlier turns of the conversation, which the decomposer is not shown"
    if question.context is None and has_few_words(text):  # a passage may say what "each of them" is
        return "it has too few words to hold two facts"
    if is_order(text):
        return "it is an order with nothing to find out"
    return None


def has_few_words(text: str) -> bool:
    """Return whether a text has too few words to hold two facts: fewer than `FEWEST_WORDS` that say what it is about.

    A question for yes or no about two things may hold two ("Do skeletons have hair?"), and so may one for a relative.
    """
    fewest = FEWEST_WORDS - 1 if _YES_OR_NO.match(text) or _KIN.search(text) else FEWEST_WORDS
    return UNSPACED.search(text) is None and len({*content_words(text), *users_hashes(text)}) < fewest


def is_pleasantry(text: str) -> bool:
    """Return whether a text is a greeting, thanks, or a word of agreement or refusal, and asks nothing beside."""
    opening = _OPENING.match(text)
    if opening is None or "?" in text or _ASKS.search(text) or _SEEKS.search(text):
        return False
    return not _YES_OR_NO.match(text[opening.end() :]) and len(words(text)) <= _LONGEST_PLEASANTRY


def is_statement(text: str) -> bool:
    """Return whether every sentence of a text tells something, and none asks or wishes for anything."""
    if "?" in text or _ASKS.search(text) or _SEEKS.search(text) or _WISHES.search(text):
        return False
    sentences = [sentence for sentence in _SENTENCES.split(text) if words(sentence)]
    return all(_TOLD_OF.match(sentence) or is_pleasantry(sentence) for sentence in sentences)


def leans_on_earlier_turns(question: Question) -> bool:
    """Return whether a question cannot be understood without the turns before it.

    In a conversation, it begins with an "and" or a "what about", or a pronoun stands before anything it may mean.
    """
    text = question.text.strip()
    if not any(message.type in ("human", "ai") for message in question.history):
        return False
    if _ADDITION.match(text):
        return True
    if _EXPLETIVE.search(text):
        return False
    for word in words(text):
        if _PRONOUN.fullmatch(word):
            return True
        if word not in FUNCTION_WORDS:
            return False
    return False


def is_order(text: str) -> bool:
    """Return whether a text tells to do or to write something, and nothing in it has to be found out first."""
    order = _ORDER.match(text)
    return order is not None and "?" not in text.rstrip("?") and not _LOOKED_UP.search(text[order.end() :])
