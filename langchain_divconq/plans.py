"""Reads plans from a model's text, and cleans them. Pure functions: of any text, only our errors come out."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence

from langchain_divconq.checks import about_the_context
from langchain_divconq.errors import DecompositionError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Question, fill_references, references
from langchain_divconq.words import UNSPACED

# Thinking opens a line, or (where the chat template opened it) closes on a line of its own. A plan's lines do neither,
# so a subquestion about these tags stays whole.
_THINKING = re.compile(
    r"\A(?:(?!^[ \t]*<(?:think|thinking|thought)>).)*?^[ \t]*</(?:think|thinking|thought)>[ \t\r]*$"
    r"|^[ \t]*<(think|thinking|thought)>.*?(?:</\1>|\Z)",
    re.DOTALL | re.MULTILINE,
)
# "1. ", "(2) ", "Q1: ", "**Sub-question 1**: ", "Alternative Question 1:", and full-width marks as in East Asian texts.
_NUMBERED = re.compile(
    r"^[\s>*_#-]*[(\uff08]?(?:(?:[a-z]+\s+)?(?:sub-?question|question|step|q)\s*#?)?([0-9\uff10-\uff19]{1,3})[*_]*\s*"
    r"(?:[.):][*_]*(?:\s+(\S.*))?|[\uff0e\u3002\u3001\uff1a\uff09][*_]*\s*(\S.*)?)$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*[-*\u2022]\s+(\S.*[?\uff1f\u061f]\W*)$")
_FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_JSON_KEYS = ("subquestions", "sub_questions", "questions", "plan", "steps", "subquestion", "question", "text")
_NONE_NEEDED = re.compile(r"\bno decomposition (?:is )?(?:needed|required|necessary)\b")
# **Where was it built?** (place); "Where was it built?"
_MARKED = re.compile(
    r"(\*\*|__|\*|_)(\S[^*_]*[?\uff1f\u061f])\1\s*(?:[(\uff08][^()]*[)\uff09])?"
    r"|\"([^\"]+)\"|\u201c([^\u201d]+)\u201d"
)
_WORD = re.compile(r"[^\W_]+")
_BARE = re.compile(
    r"\W*(?:(?:what|which|who|is|are|was|were|it|the|same|as|than|that|and|or|not|a|an|to)\b\W*|#[0-9]+\W*)+",
    re.IGNORECASE,
)
_HOLE = re.compile(r"\b(?:same|as|than|or|and|to)\W*$", re.IGNORECASE)  # where an answer was left out
_AGAINST_ITSELF = re.compile(
    r"#([0-9]+)[^#]*\b(?:than|as|same|equal|to|or|and|like|from|before|after|in|part of|vs\.?|versus)\s+#\1(?![0-9])",
    re.IGNORECASE,
)
_SPELLED = re.compile(r"[^\W_]+(?:[_./:&+-]+[^\W_]+)*")  # "E_CONN_1193", "moment-lite"
_LONG = 5  # letters from which two words that differ in marks alone are one: "a.m" is not "am"
_MEANINGFUL = "#%&*/@-"  # punctuation that tells questions apart: it calculates, or names things
_GIVEN = re.compile(r"Given #[1-9](?:(?:, | and )#[1-9])*, ", re.IGNORECASE)
_SENTENCES = re.compile(r"[.!?]\W?\s+|(?<=[\u3002\uff01\uff1f])")
# How a subquestion begins that ends without a question mark: it asks, or tells to find out.
_ASKING = re.compile(
    r"\W*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|has|have|had|can|could|will|would|"
    r"should|given|for|in|on|at|of|from|to|by|find|calculate|compute|determine|identify|list|name|count|get|compare|"
    r"check|look|work|figure|subtract|add|multiply|divide|sum|convert|estimate|retrieve|search|select|verify)\b",
    re.IGNORECASE,
)


def render_plan(subquestions: Sequence[str]) -> str:
    """Return the text a decomposer is to write for these subquestions; the sentinel where there are none."""
    if not subquestions:
        return NO_DECOMPOSITION
    return "\n".join(f"{number}. {subquestion}" for number, subquestion in enumerate(subquestions, start=1))


def without_thinking(text: str) -> str:
    """Return a reply without what a model thought in `<think>` tags, and without blanks at its ends."""
    return _THINKING.sub("", text).strip()


def parse_plan(text: str, asked: str = "") -> tuple[str, ...]:
    """Return the subquestions in a decomposer's reply; an empty tuple where it says that none are needed.

    Lenient in form (a preamble, bold numbers, `1)`, `Q1:`, full-width marks, bullets that ask and a JSON list are
    read), strict in what it means.

    `asked`: the words of the question and its context: a `#1` that stands there is the user's, and no reference.

    Raises:
        DecompositionError: There is no numbered subquestion and no sentinel, the numbers are not 1, 2, 3 …, or a
            subquestion is empty or refers to itself or to a later one.
    """
    reply = without_thinking(text)
    numbered = list(_numbered(reply))
    if len(numbered) == 1 and _NONE_NEEDED.match(_words(numbered[0][1])):
        return ()
    if not numbered:
        if _NONE_NEEDED.search(_words(reply)):
            return ()
        raise DecompositionError(
            f"The decomposer wrote no plan: expected numbered lines or {NO_DECOMPOSITION!r}, got {reply!r:.120}.",
            llm_output=text,
        )
    subquestions = []
    for expected, (number, words) in enumerate(numbered, start=1):
        if number != expected:
            raise DecompositionError(
                f"The plan's numbers do not run 1, 2, 3 …: line {expected} is numbered {number} in {reply!r:.120}.",
                llm_output=text,
            )
        subquestion = _unmarked(words)
        if not subquestion:
            raise DecompositionError(f"Subquestion {expected} is empty in {reply!r:.120}.", llm_output=text)
        bad = [n for n in references(subquestion, asked) if not 1 <= n < expected and n not in references(asked)]
        if bad:
            raise DecompositionError(
                f"Subquestion {expected} refers to #{bad[0]}, which is not an earlier one: {subquestion!r:.120}.",
                llm_output=text,
            )
        subquestions.append(subquestion)
    return tuple(subquestions)


def asks(subquestion: str) -> bool:
    """Return whether a line of a plan asks, or tells to find out; "It was built in 1931." does neither."""
    ends = subquestion.rstrip("*_\"')\u201d ").endswith(("?", "\uff1f", "\u061f"))
    return ends or bool(_ASKING.match(subquestion) or UNSPACED.search(subquestion))  # some scripts ask without a mark


def clean_plan(subquestions: Sequence[str], question: Question, max_subquestions: int) -> tuple[str, ...]:
    """Return the plan without what adds nothing: repeats, restatements, bare references, and what exceeds the cap.

    "Given #1, …" asks nothing else than what follows it. A reference to a repeat is turned to the subquestion it
    repeats. What refers to a restatement goes with it, since its answer would be the answer to the question. References
    are renumbered. A bare reference ("What is #1?") asks nothing, nor does one against itself ("Is #1 more than #1?").
    A name or code whose inner marks were lost ("ECONN_1193") is spelled as the question spells it.
    """
    asked = question.words
    subquestions = _respelled(subquestions, asked)
    restated = {_normalise(question.text), _normalise(_last_sentence(question.text))}
    kept: list[str] = []
    new_number: dict[int, int] = {}
    for number, original in enumerate(subquestions, start=1):
        needed = [n for n in references(original, asked) if n < number or n not in references(asked)]
        if any(n not in new_number for n in needed):
            continue
        subquestion = fill_references(
            " ".join(original.split()), {old: f"#{new}" for old, new in new_number.items()}, asked
        )
        key = _key(subquestion)
        if key in restated or _says_nothing(subquestion, asked) or about_the_context(subquestion, question):
            continue
        earlier = next((n for n, text in enumerate(kept, start=1) if _key(text) == key), None)
        if earlier is None:
            if len(kept) == max_subquestions:
                break
            kept.append(subquestion)
        new_number[number] = earlier or len(kept)
    return tuple(kept)


def _respelled(subquestions: Sequence[str], asked: str) -> list[str]:
    """Return a plan with the words of the question that have marks inside as the question has them."""
    own = _SPELLED.findall(asked)
    marked = {_letters(word): word for word in own if not word.isalnum() and len(_letters(word)) >= _LONG}
    known = set(own)

    def spell(match: re.Match[str]) -> str:
        return match[0] if match[0] in known else marked.get(_letters(match[0]), match[0])

    return [_SPELLED.sub(spell, line) for line in subquestions] if marked else list(subquestions)


def _letters(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _says_nothing(subquestion: str, asked: str) -> bool:
    """Return whether a line has no words of its own, or sets an answer against itself."""
    if not _WORD.search(subquestion) or not asks(subquestion):
        return True
    referred = references(subquestion, asked)
    hashes = subquestion.count("#")
    if len(referred) == 1 and hashes > 1 and (hashes > 2 or _AGAINST_ITSELF.search(subquestion)):
        return True
    if not referred and not _HOLE.search(subquestion):
        return False
    return len(referred) <= 1 and bool(_BARE.fullmatch(subquestion))


def _numbered(reply: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a reply; where it has none, its bullets that ask, or the items of a JSON list."""
    found = [match for line in reply.split("\n") if (match := _NUMBERED.match(line)) and (match[2] or match[3])]
    if found:
        yield from ((int(match[1]), match[2] or match[3]) for match in found)
        return
    bullets = [match[1] for line in reply.split("\n") if (match := _BULLET.match(line))]
    yield from enumerate(bullets or _json_items(reply), start=1)


def _json_items(reply: str) -> list[str]:
    fenced = _FENCE.search(reply)
    try:
        value = json.loads(fenced[1] if fenced else reply)
    except (ValueError, RecursionError):
        return []
    found = [_json_text(item) for item in value] if isinstance(value := _json_value(value), list) else []
    return [text for text in found if text] if all(isinstance(text, str) for text in found) else []


def _json_text(item: object) -> str | None:
    value = _json_value(item)
    return " ".join(value.split()) if isinstance(value, str) else None


def _json_value(value: object) -> object:
    """Return what stands under the first key that may hold a plan or a subquestion; no object: the value itself."""
    while isinstance(value, dict):
        value = next((value[key] for key in _JSON_KEYS if key in value), None)
    return value


def _unmarked(words: str) -> str:
    """Return a line without Markdown and quotation marks around it, or a note in brackets behind what is so marked."""
    line, before = words, ""
    while line != before:
        before, line = line, " ".join(line.strip("*_ \t\r").split())
        if marked := _MARKED.fullmatch(before.strip()):
            line = marked[2] or marked[3] or marked[4]
    return line


def _last_sentence(text: str) -> str:
    return [sentence for sentence in _SENTENCES.split(text.strip()) if sentence][-1]


def _key(subquestion: str) -> str:
    return _normalise(_GIVEN.sub("", subquestion, count=1) if _GIVEN.match(subquestion) else subquestion)


def _normalise(text: str) -> str:
    """Return the text without what makes no difference between two questions: case, punctuation and spacing."""
    plain = "".join(c if unicodedata.category(c)[0] != "P" or c in _MEANINGFUL else " " for c in text.casefold())
    return " ".join(plain.split())


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))
