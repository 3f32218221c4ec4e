"""Questions that are left whole without asking the model: it costs nothing, and the model would do harm.

Every rule is a pure function of the question's own words, and is built to be silent where it is not sure: what it lets
pass, the model still may leave whole.
"""

import re

from langchain_divconq.languages import other_language
from langchain_divconq.orders import begins_an_order, is_order
from langchain_divconq.statements import asks, is_statement, seeks
from langchain_divconq.types import Question
from langchain_divconq.words import FUNCTION_WORDS, HELPERS, UNSPACED, alternatives, content_words, users_hashes, words

FEWEST_WORDS = 3
"""A question with fewer content words holds no two facts: "Who wrote Middlemarch?" has two."""

_YES_OR_NO = re.compile(rf"\W*(?:{HELPERS}|might|may)\b", re.I)
_ASKING_WORD = re.compile(r"\b(?:who|whose|which|what|when|where|why|how)\b", re.I)
_KIN = re.compile(
    r"\b(?:grand\w+|great-\w+|uncle|aunt|nephew|niece|cousin|step\w+|half-\w+|\w+(?:-| )in(?:-| )law|sibling)s?\b", re.I
)
# How a turn of a conversation begins. What follows may still ask, order, or be words to search for.
_OPENINGS = alternatives(r"""
    hi|hiya|hello|hey|yo|greetings|morning(?=\W*$|[!,.])|good (?:morning|afternoon|evening|night|day)
    bye|goodbye|see (?:you|u|ya)|(?:talk|speak) (?:to you|soon|later|on)|take (?:care|your time)|have (?:a|fun)|enjoy
    thanks|thank you|thx|cheers|ty|ta|(?:much )?appreciated|welcome|you're (?:right|welcome|kidding)
    (?:yes|no|ok|okay|sure) please|yes|yep|yeah|yup|no|nope|nah
    ok|okay|k|fine|alright|all (?:right|good|clear|set|done|fine)|right|sure
    of course|absolutely|definitely|indeed|agreed|correct|exactly|roger|noted|will do
    not (?:really|now|yet|bad|today|at all)|never ?mind|no (?:problem|worries|need|rush|thanks)|np|whatever
    go (?:ahead|on|for it|with)|do it|please do|continue|carry on|stop|let's (?:do|go with|leave|keep)
    great|perfect|nice|cool|awesome|excellent|wonderful|lovely|brilliant|well done|love it|yay
    good (?:job|point|idea|luck|one|call|catch|work|to know|thinking|stuff)|fair (?:enough|point)
    (?:that |it )?(?:sounds|looks|seems) (?:good|great|fine|right|ok|okay|perfect|lovely|nice|like)
    (?:that |it |tomorrow |\w+day )?(?:works|is fine|is ok|is okay|is good|is perfect|suits)|(?:that )?makes sense
    sorry|my bad|got (?:it|you|ya)|i see|understood|likewise|same (?:here|to you)|me too|lol|haha\w*|brb
    congrat\w*|happy (?:to|with|birthday|new|holidays|easter|christmas|for)|merry christmas|wish me luck
    (?:best|kind) (?:wishes|regards)|(?:nice|pleased|glad|lovely|great) to|hope|hopefully|fingers crossed
""")
_OPENING = re.compile(rf"\W*(?:{_OPENINGS})\b", re.I)
_LONGEST_PLEASANTRY = 12
_SPEAKS = re.compile(r"\b(?:i|i'?m|we|you|u|me|us|it|he|him|she|they|them)\b", re.I)
_ADDITION = re.compile(r"\W*(?:and|but|or|(?:and )?(?:what|how) about|same (?:as|for)|also)\b", re.I)
_PRONOUN = re.compile(r"(?:it|its|he|him|his|she|her|hers|they|them|their|theirs|this|that|these|those|one|ones|there)")
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|does|did|might|could) it (?:be |take |true|possible|better|worse|cheaper|legal|faster|"
    r"safe|common|necessary|easier|ever)|\b(?:is|are|was|were|has|have|had) there\b|\bthere (?:is|are|was|were)\b",
    re.I,
)


def reason_to_leave_whole(question: Question, *, english_only: bool) -> str | None:
    """Return why a question is not shown to the model, in words; None: nothing speaks against it."""
    text = question.text.strip().replace("\u2019", "'")
    if not any(character.isalpha() for character in text):
        return "it holds no words"
    if (language := other_language(text)) is not None:
        return f"it is {language}, and the decomposer was taught English" if english_only else None
    if is_pleasantry(text):
        return "it is a turn of a conversation and asks nothing"
    if leans_on_earlier_turns(question):
        return "it leans on earlier turns of the conversation, which the decomposer is not shown"
    if question.context is None and has_few_words(text):  # a passage may say what "each of them" is
        return "it has too few words to hold two facts"
    if is_order(_without_openings(text)):
        return "it is an order with nothing to find out"
    if is_statement(text):
        return "it tells something and asks nothing"
    return None


def has_few_words(text: str) -> bool:
    """Return whether a text has too few words to hold two facts: fewer than `FEWEST_WORDS` that say what it is about.

    A question for yes or no about two things may hold two ("Do skeletons have hair?"), and so may one for a relative,
    or one that asks twice ("what is a halyard and what is a sheet").
    """
    is_dense = _YES_OR_NO.match(text) or _KIN.search(text) or len(_ASKING_WORD.findall(text)) > 1
    fewest = FEWEST_WORDS - 1 if is_dense else FEWEST_WORDS
    return UNSPACED.search(text) is None and len({*content_words(text), *users_hashes(text)}) < fewest


def is_pleasantry(text: str) -> bool:
    """Return whether a text is a greeting, thanks, or a word of agreement or refusal, and asks nothing beside.

    What follows the opening may be words to search for ("hey, population of Peru and Chile"): a few words, or words
    from one person to another, are none.
    """
    rest = _without_openings(text)
    if rest == text or len(words(text)) > _LONGEST_PLEASANTRY or asks(text) or seeks(rest) or begins_an_order(rest):
        return False
    return len(content_words(rest)) < FEWEST_WORDS or _SPEAKS.search(rest) is not None


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


def _without_openings(text: str) -> str:
    while opening := _OPENING.match(text):
        text = text[opening.end() :]
    return text
