"""Tells orders to do or to write something, plain or polite. No model."""

import re

from langchain_divconq.words import alternatives, any_of

# Verbs that begin an order to do or to write something. "Find", "check", "compare", "list", "name" look something up.
_VERBS = """
    add apply approve archive arrange assign attach block book brainstorm bring buy call cancel charge clean close
    commit compose confirm convert copy correct create cut debug decline delete deploy describe disable dim download
    draft draw duplicate edit email enable explain export extract fill fix format forward generate give implement
    import improve increase inform insert install invent invite label lock log lower mail make mark merge message move
    mute note notify open order organise organize paint pause pay phone ping place play post prepare print proofread
    publish push put raise rate read record refactor refund register reject remind remove rename repeat reply rephrase
    reschedule reserve restart restore resume return revert rewrite ring roll run save say scan schedule send set share
    shorten show shut sign sketch skip snooze sort start stop submit subscribe summarise summarize switch tag tell text
    tidy transfer translate turn type undo uninstall unlock unmute unsubscribe update upload volume wake water write"""


def _gerunds(verb: str) -> list[str]:
    """Return how a verb in -ing may be spelled: "sending", "moving", "setting"."""
    return [f"{verb}ing", f"{verb}{verb[-1]}ing", *([f"{verb[:-1]}ing"] if verb.endswith("e") else [])]


_COURTESY = r"(?:(?:please|pls|kindly|also|just|maybe|perhaps|possibly|quickly|now|then|hey|ok|okay|so|and|go and)\W+)*"
_YOU = "(?:you|u|ya|someone|somebody|anyone|anybody)"
_CAN_YOU = f"(?:can|could|would|will) {_YOU}"
# "Tell me" and "show us the …" ask for something; "say I resign" supposes it.
_NO_ORDER = r"(?!(?:tell|show|read) (?:me|us)\b|say (?:i|we|you|he|she)\b)"
_DO = rf"{_NO_ORDER}(?:{'|'.join(_VERBS.split())}|let (?!me|us)\w+(?: \w+){{0,3}}? know)\b"
_DOING = rf"(?:{'|'.join(form for verb in _VERBS.split() for form in _gerunds(verb))})\b"
_PLAIN = re.compile(rf"\W*{_COURTESY}{_DO}", re.I)
_WISHED = re.compile(rf"\W*{_COURTESY}(?:{_DO}|{_DOING})", re.I)
# Polite and indirect openings of an order; a verb in -ing may follow ("would you mind sending").
_POLITE_OPENINGS = alternatives(rf"""
    {_CAN_YOU} (?:please )?(?:be (?:so kind|so good|kind enough|able)(?: as)? to|mind)
    do you mind
    (?:would|are) you (?:be )?(?:able|willing) to
    would it be (?:possible|ok|okay) (?:for you )?to
    (?:can|could|may|might) (?:i|we) (?:ask|trouble|bother|get) you to
    (?:i|we|it)(?:'?d| would|'?ll) (?:really |very much |also )?(?:be \w+|appreciate(?: it)?) if you (?:could|would|can)
    (?:i|we)(?:'?d| would)? ?(?:really |also |just )?(?:need|want|like|love) (?:you )?to
    (?:i|we) (?:have to|must|should|ought to)
    (?:i'?m|i am) asking you to
    let'?s
    let us
    shall we
    why (?:don'?t|not) (?:you|we)?
    how about (?:you|we)?
    you (?:should|can|could|need to|must|have to|may)
    (?:make|be) sure (?:to|you|that you)
    (?:don'?t|do not) forget to
    remember to
    try to
    go ahead and
    feel free to
    (?:i|we) (?:was|were|am|are) (?:just )?wondering (?:if|whether) you (?:could|can|would|might)
    i wonder (?:if|whether) you could
    any chance (?:that |of )?(?:you (?:could|can))?
    (?:your (?:task|job)|the task) is to
    it'?s time to
    do me a favou?r and
    help (?:me|us)(?: to)?
""")
_POLITE = re.compile(rf"\W*{_COURTESY}(?:{_POLITE_OPENINGS})\W+{_COURTESY}", re.I)
# This may ask what anybody can do ("Can you buy a car at a chemist's?"), so it takes somebody or some time at hand.
_ASKED = re.compile(rf"\W*{_COURTESY}{_CAN_YOU}\W+(?!(?:please )?(?:mind|be)\b){_COURTESY}", re.I)
_AT_HAND = any_of(r"""
    \b(?:me|us|him|them|it|this|these|everyone|everybody|team|my|our)\b
    \b(?:today|tonight|tomorrow|now|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b
    \b(?:morning|afternoon|evening|at [0-9]+)\b
    \b(?:please|pls|thanks|thx)\b
    \byou\W+(?:\w+ ){1,3}?the [a-z]+\b(?! ['\"\u2018\u201c])
    (?-i:\bto [A-Z])
""")
_REACHES = re.compile(
    r"(?i:email|mail|send|text|tell|call|ring|phone|message|notify|inform|invite|remind|forward|ping|pay|give|show|let|"
    r"write|ask) (?:[A-Z]|(?i:her|you)\b)"
)
# What an order has in it when something must be found out first: a clause about something unnamed, a choice, a look-up.
_NO_SUPERLATIVE = "(?!(?:hon|inter|gu|requ|t|r|w|for|prot|inv|dig|har|contr|sugg|mod|breakf|lat)est)"
_LOOKED_UP = any_of(rf"""
    \bwh(?:o|om|ose|oever|ich|ichever|at|atever|en|ere|ether)(?:'?s)?\b
    \b(?:how|if|than|of|each|both|any|new|missing|average|total|according|since|before|after|against)\b
    (?<!know )(?<!say )(?<!saying )(?<!mention )\bthat\b
    \b\w+(?:ed|en|wn) by\b
    \b(?:most|least|best|worst|highest|lowest|latest|last|first|next|previous|cheapest|cheaper|better)\b
    \b(?:find|check|compare|research|look|verify|collect|get|see|need)\b
    \b(?:provided|as long as|so long as|(?:is|are|do|does|did)n't)\b
    \b{_NO_SUPERLATIVE}\w{{3,}}est\b
""")
# "The cottage we picked", "the night the client flies in", "the cabin Jonah found".
_NOUN = r"(?:(?!(?:and|or|to|in|on|at|for|with|by|near|from)\b)[\w'-]+ ){1,2}?"
_UNNAMED = re.compile(
    rf"\b(?:the|those) {_NOUN}(?:"
    r"(?:i|im|i'm|we|you|he|she|they|the|our|my|his|her|their|mr|mrs|ms|dr)\b"
    r"|(?-i:[A-Z])\w+ \w+(?:ed|s|nd|se|de|ft|nt)\b"
    r"|\w+ (?:chose|found|picked|liked|wanted|made|used|ordered|bought|sent|left|mentioned|recommended)\b)",
    re.I,
)
# "Give me the age limit": something is looked up, not made.
_GIVES = re.compile(r"\W*(?:give|show) (?:me |us )?(?:the|its|their)\b", re.I)
# What is made of nothing but words: there is nothing to find out, whatever it is about.
_MADE_UP = re.compile(
    r"(?:write|compose|make|draft|give|invent|create|tell)(?: up)?(?: (?:me|us))? (?:[\w-]+ ){0,3}?(?:poems?|haikus?|"
    r"limericks?|sonnets?|songs?|rhymes?|story|stories|jokes?|riddles?|regex|regexes|query|bash|python|one-liner|"
    r"function|script|dockerfile|docstring)\b"
    r"|(?:translate|rewrite|rephrase|proofread|correct|shorten) (?:this|that|it|these|the following|['\"\u2018\u201c]|"
    r"(?:into|to) \w+:)",
    re.I,
)
_RESEARCHED = re.compile(r"\b(?:find|look(?:ing)? (?:it |them )?up|research|check)\b", re.I)


def begins_an_order(text: str) -> bool:
    """Return whether a text begins as an order does, whatever may have to be found out for it."""
    return bool(_PLAIN.match(text) or _POLITE.match(text))


def is_order(text: str) -> bool:
    """Return whether a text tells to do or to write something, and nothing in it has to be found out first.

    "Could you email Ben the report?" and "I'd like you to email Ben the report." tell it too.
    """
    asked = _ASKED.match(text)
    plain = text[asked.end() :] if asked else text
    is_polite = False
    while polite := _POLITE.match(plain):
        plain, is_polite = plain[polite.end() :], True
    order = (_WISHED if is_polite else _PLAIN).match(plain)
    if order is None or "?" in text.rstrip("?!. "):
        return False
    if asked and not is_polite and not (_AT_HAND.search(text) or _REACHES.search(plain)):
        return False
    if _MADE_UP.match(plain.lstrip()) and not _RESEARCHED.search(plain):
        return True
    is_looked_up = _GIVES.match(plain) or _LOOKED_UP.search(plain, order.end()) or _UNNAMED.search(plain, order.end())
    return not is_looked_up
