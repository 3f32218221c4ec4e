"""Words of questions: content words, names, numbers, the user's own `#`. Pure functions, no dependency.

Two words are taken for the same when their first letters are (`STEM`): "composed" and "composer". In scripts that are
written without spaces every character is a word.
"""

import re
import unicodedata
from collections.abc import Iterable

STEM = 5
"""So many first letters make two words the same."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNSPACED = re.compile(f"[{_UNSPACED}]")
"""A character of a script that is written without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

_WORD = re.compile(rf"#\w+|[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['\u2019][^\W\d_]+)?")
_REFERENCE = re.compile(r"#[0-9]+")
_NUMBER = re.compile(r"(?<![\w#])[0-9]+(?:[.,:][0-9]+)*")
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|(?<!\w)'([^']+)'(?!\w)|(?<!\w)\u2018([^\u2019]+)\u2019(?!\w)")
_CAPITALISED = re.compile(r"[^\W\d_][\w'\u2019&.-]*")
_USERS_HASH = re.compile(r"#\w*")

HELPERS = "is|are|was|were|do|does|did|has|have|had|can|could|will|would|should"
"""Verbs that begin a question for yes or no, as a pattern's alternatives."""

# Words that stand in questions about anything.
_FUNCTION_WORDS = """
    a about after all also am an and any anyone are as at be been before being between both but by can could did
    do does doing down each either else ever every for from get give given got had has have having he hello her
    here hers hey hi him his how i if in into is it its itself just list many may me mine more most much must my
    name neither no nor not now of off on one ones only or other our out over please shall she should so some
    such tell than thanks that the their them then there these they this those though to too under up upon us
    very was we were what when where whether which while who whoever whom whose why will with within without
    would yes yet you your i'm it's what's who's where's that's there's don't doesn't didn't isn't aren't wasn't
    weren't can't won't s t"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that say little of what a question is about; what asks or compares is among them."""

_SPELLED = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty"""
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_OTHERS = "once 1 half 2 twice 2 double 2 triple 3 quarter 4 dozen 12 hundred 100 thousand 1000"
_NUMBER_WORDS = {
    **{word: str(value) for value, word in enumerate(_SPELLED.split())},
    **{word: str(value) for value, word in enumerate(_ORDINALS.split(), start=1)},
} | dict(zip(_OTHERS.split()[::2], _OTHERS.split()[1::2], strict=True))


def alternatives(patterns: str) -> str:
    """Return one pattern of several, each on a line of its own; blanks around a line do not count."""
    return "|".join(line.strip() for line in patterns.splitlines() if line.strip())


def any_of(patterns: str) -> re.Pattern[str]:
    """Return what finds any of several patterns, in capitals or not; see `alternatives`."""
    return re.compile(alternatives(patterns), re.I)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, references to subquestions (`#1`) left out."""
    found = (word.replace("\u2019", "'") for word in _WORD.findall(text.casefold()))
    return [word.removesuffix("'s") for word in found if not _REFERENCE.fullmatch(word)]


def content_words(text: str) -> list[str]:
    """Return the words that say what a text is about, in order."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def stems(text: str) -> set[str]:
    """Return the first letters of a text's content words."""
    return {word[:STEM] for word in content_words(text)}


def covered(asked: str, plan: Iterable[str]) -> float:
    """Return the share of the content words of `asked` that occur in a plan, from 0 to 1; 1 where it has none."""
    wanted = stems(asked)
    return len(wanted & stems("\n".join(plan))) / len(wanted) if wanted else 1.0


def numbers(text: str) -> list[str]:
    """Return the numbers written in digits, without separators of thousands: "1,200" is "1200"."""
    return [re.sub(r",(?=[0-9]{3}\b)", "", number) for number in _NUMBER.findall(text)]


def folded(text: str) -> str:
    """Return a text without accents, in lower case."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def spoken_numbers(text: str) -> set[str]:
    """Return the numbers written in words ("three", "a dozen") in digits."""
    return {_NUMBER_WORDS[word] for word in words(text) if word in _NUMBER_WORDS}


def quoted(text: str) -> list[str]:
    """Return what stands in quotation marks."""
    return [next(part for part in found if part) for found in _QUOTED.findall(text)]


def names(text: str) -> list[str]:
    """Return the words with a capital letter, but for the first of each sentence, "I" and "I'm"."""
    found = []
    for match in _CAPITALISED.finditer(text):
        word, end = match[0].rstrip(".'\u2019-"), match.start()
        while end and text[end - 1].isspace():
            end -= 1
        begins = not end or text[end - 1] in ".!?:"
        if any(letter.isupper() for letter in word) and word[:2] not in ("I", "I'", "I\u2019") and not begins:
            found.append(word)
    return found


def users_hashes(text: str) -> list[str]:
    """Return each `#` of a text with the letters and digits that follow it, each once: "#", "#12", "#333333"."""
    return list(dict.fromkeys(_USERS_HASH.findall(text)))
