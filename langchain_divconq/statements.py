"""Tells texts that ask, and texts that only tell something: "My order number is 4711." No model.

A statement is found by what it has, never by what it lacks: each of its sentences opens with a subject and the verb
that goes with it. So search words ("price of the phone that replaced the Vanta 6") are no statement, and neither is
anything that asks, orders or says that something is wanted.
"""

import re

from langchain_divconq.words import HELPERS, any_of

_SENTENCES = re.compile(r"(?<=[.!;?])(?<!\b[DMS][rst]\.)(?<!Mrs\.)[\"'\u201d)]*\s+|\n+")
_CLAUSE = (
    r"(?:^|[.,;:!?(\n\u2013\u2014]|\s-"
    r"|\b(?:and|but|or|so|then|anyway|also|ok|okay|well|wait|hey|hi|hello|yo|just|plus)\b)\W{0,3}"
)
_WORD_THAT_ASKS = (
    "(?:who|whom|whose|whoever|which|whcih|wich|what|wat|wot|when|where|why|how|whether)(?:'?(?:s|re|d|ll))?"
)
_HELPERS = f"(?:{HELPERS})"
_PERSONS = (
    "(?:he|she|they|those|there|i|we|you|u|the|my|our|your|his|her|their|any|anyone|anybody|someone|both|all|one)"
)
_BEFORE_SUBJECT = "(?:is|are|was|were|does|did|has|had|can|could|will|would|should|shall|might|must|am)"
_ASKS = any_of(rf"""
    \?
    {_CLAUSE}(?:(?:in|on|at|for|from|by|to|with|of|until|till|since) )?{_WORD_THAT_ASKS}\b
    \bhow (?:long|many|much|far|old|often|fast|tall|high|big|soon|late|early)\b
    \b(?:what|how|why) {_HELPERS}\b
    \bwhat \w+ {_HELPERS}\b
    \bwh(?:o|at|ere|ich)ever\b
    \b(?:in|on|at|for|from|by|to|with|of|under|than) (?:what|which|whose) (?!(?:i|we|he|she|they|it|you|the|my)\b)
    \b(?:who|where|when) (?:in|on|at|of)\b
    \b(?:in|for|by|as|on) this \w+ (?:in|of|from|where)\b
    ,? (?:right|correct|yes or no|or not|innit|true or false)\W*$
    {_CLAUSE}{_BEFORE_SUBJECT}(?:n'?t)? (?:{_PERSONS}|its?|that|this|an?)\b
    {_CLAUSE}(?:do|have|may)(?:n'?t)? {_PERSONS}\b
""")
# What says that something is wanted, or not known.
_SEEKS = any_of(r"""
    \b(?:needs?|wants?|wanna|wanted (?:the|a|to (?:know|see|find|ask|check)))\b
    \b(?:would|i'd|we'd) (?:like|love)\b
    \b(?:like|love|trying|have|has|had|got|hope|hoping) to\b
    \b(?:look(?:ing)? (?:for|up|into|at)|search\w*|(?<!hard to )(?<!easy to )find(?:ing)?|trace|figure|work out)\b
    \b(?:wonder\w*|curious|interested|no (?:idea|clue)|not sure|unsure|forg[eo]t\w*|remember|recall|decide)\b
    \b(?:to|anyone|anybody|must|should|n't|dont|doesnt|didnt|not) know\b
    \b(?:tell|show|give|get|send) (?:me|us)\b
    \b(?:i'?m|we'?re|am|are) after\b
    \b(?:questions?|asks?|asking|settle|bet|argu\w+|disagree\w*|agrees|missing)\b
    \b(?:compare\w*|comparing|list|calculate|compute|determine|identify|estimate|explain|describe)\b
    \b(?:suppose|say i|say we|if|versus|vs)\b
    \b(?:please|pls|plz)\b(?! (?:be|ignore|do not|don't|excuse|note|keep|stop))
""")
# Who claims a comparison wants it settled: "I think that the Odra is longer than the Meuse."
_CLAIM = re.compile(r"\b(?:think|thinks|thought|says|heard|reckon\w*|believe|claims?|guess|told)\b", re.I)
_COMPARED = re.compile(r"\b(?:than|before|after|same|older|oldest)\b", re.I)

_OPENINGS = re.compile(
    r"\W*(?:(?:hey|hi|hello|hiya|morning|ok|okay|well|so|and|but|also|anyway|btw|by the way|fyi|guess what|honestly|"
    r"actually|basically|unfortunately|luckily|sadly|sorry|ugh|lol|haha|oh|wow|yes|yeah|yep|no|nope|"
    r"(?:thanks|thank you)(?: for [^,.!;]+)?|just|today|yesterday|tonight|tomorrow|this morning|last night|last week|"
    r"now|then|still|again|never again)\b\W*)*",
    re.I,
)
_PRONOUN = any_of(r"""
    (?:i|we|you|u|he|she|they|it|(?:every|some|no)(?:one|body|thing))\b(?:'(?:m|ve|re|s|d|ll)\b)? +\w
    (?:i'?m|ive|weve|youre|theyre|theyve|hes|shes|thats|theres|it's)\b
    (?:that|there|here|this|these|those|attached)(?:'s| (?:is|are|was|were|will|would|must|did|does|has|have))\b
    (?:that|there|here|this) (?:works?|worked|makes|made|sounds|helps|helped)\b
    its (?:a|an|the|my|our|not|so|too|all|just|been|ok|okay|fine|still|about|\w+ing)\b
""")
_APPOSITIVE = re.compile(
    r", (?:who|whose|which|where)\b[^,?]*, (?=\w+ (?!(?:he|she|it|they|that|this|we|i|you)\b))", re.I
)
_HELPING = re.compile(
    r"(?:is|are|was|were|has|have|had|will|would|can|cannot|could|should|must|may|might|did|wont|cant|"
    r"(?:is|are|was|were|has|have|had|wo|would|ca|could|should|do|does|did)n't)$",
    re.I,
)
# Verbs of a past or present that are no participle: "the shop went" is no piece of a question, "the paint used" is.
_TELLING_VERBS = """
    went came says said gave took ate kept keeps saw fell felt knew knows began ran wrote forgot grew rang rose sang
    sat slept spoke spent swam threw woke wore looks feels seems sounds thinks lives goes comes stays makes takes gets
    gives likes loves hates starts stops opens closes ends leaves lands arrives arrived died works worked happened
    failed crashed disappeared vanished appeared remained wants needs broke got told turned became"""
_TELLING = frozenset(_TELLING_VERBS.split())
# A verb in -ed before one of these has an object, or is none but a verb; before "by" or "in" it may be a participle.
_OBJECT = re.compile(
    r"(?:away|up|off|down|out|over|back|again|my|our|your|his|her|their|me|us|him|them|the|it|that|this|badly|well|"
    r"everything|everyone|everybody|nobody)$",
    re.I,
)
_NAMES = re.compile(r"(?:called|named|entitled|titled)$", re.I)
_PREPOSITION = re.compile(
    r"(?:of|in|on|at|for|from|to|with|by|about|near|and|or|next|behind|under|over|between|after|before|around)$", re.I
)
_NOT_IN_SUBJECT = re.compile(
    r"(?:that|who|whom|whose|which|where|when|i|we|he|she|they|you|it|me|us|him|them|,|:|['\"\u2018\u201c].*)$", re.I
)
_DETERMINER = re.compile(
    r"(?:my|our|the|a|an|his|her|their|its|your|this|that|these|those|another|some|every|no|\w+'s)$", re.I
)
_BEGINS_A_QUESTION = re.compile(rf"(?:{_WORD_THAT_ASKS}|{_HELPERS})\b", re.I)
_LONGEST_SUBJECT = 10


def asks(text: str) -> bool:
    """Return whether a text has the form of a question: its mark, a word that asks, a verb before its subject."""
    return _ASKS.search(text) is not None


def seeks(text: str) -> bool:
    """Return whether a text says that something is wanted or not known: "I need …", "no idea …", "find …"."""
    return _SEEKS.search(text) is not None


def is_statement(text: str) -> bool:
    """Return whether a text tells something and neither asks, orders nor wants anything."""
    plain = _APPOSITIVE.sub(" ", text.strip().replace("\u2019", "'"))
    if asks(plain) or seeks(plain) or (_CLAIM.search(plain) and _COMPARED.search(plain)):
        return False
    sentences = [sentence for sentence in _SENTENCES.split(plain) if any(map(str.isalpha, sentence))]
    return bool(sentences) and all(map(_tells, sentences))


def _tells(sentence: str) -> bool:
    """Return whether a sentence opens with a subject and its verb, or has no more than words of conversation."""
    opening = _OPENINGS.match(sentence)
    plain = sentence[opening.end() :] if opening else sentence
    if not plain or _PRONOUN.match(plain):
        return True
    return not _BEGINS_A_QUESTION.match(plain) and _has_subject_and_verb(re.findall(r"[^\s,.!;:]+|[,:]", plain))


def _has_subject_and_verb(found: list[str]) -> bool:
    """Return whether words begin with what they are about ("the meeting in Lund") and a verb that goes with it."""
    opened = bool(found) and _DETERMINER.match(found[0]) is not None
    if not opened and not (found and found[0][0].isupper()):
        return False
    for place, word in enumerate(found[1 : _LONGEST_SUBJECT + 1], start=1):
        before, follows = found[place - 1], "".join(found[place + 1 : place + 2])
        is_joined = _PREPOSITION.match(before) is not None
        if place > 1 or not opened:
            if _HELPING.match(word) or word.lower() in _TELLING:
                # "The hotel Anna was in" is no sentence.
                return not (
                    place > 2 and found[0].lower() == "the" and before[0].isupper() and found[place - 2].islower()
                )
            if opened and word.endswith("ed") and not _NAMES.match(word) and not is_joined and _OBJECT.match(follows):
                return True
        if _NOT_IN_SUBJECT.match(word) or (_DETERMINER.match(word) and not is_joined):
            return False
        if not opened and not (word[0].isupper() or word[0].isdigit() or word == "and" or place == 1):
            return False
    return False
