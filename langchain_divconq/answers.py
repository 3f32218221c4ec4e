"""Reads final answers from a model's text. Pure functions: any text is accepted, and no error comes out."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

from langchain_divconq.plans import without_thinking

_ANSWER = (
    r"^(?:[^\w(]|_)*(?:(?:the|my|final|correct|short)\s+)*answer(?:\s+to\s+the\s+(?:\w+\s+)?question)?(?:\s+is)?[\s*_]*"
)
_ANSWER_LINE = re.compile(_ANSWER + r"[:\uff1a](.*)$", re.IGNORECASE)
_ANSWER_TITLE = re.compile(_ANSWER + "$", re.IGNORECASE)
_ANSWER_WITHIN_LINE = re.compile(r"[.!?)\]]\s+\**(?:Final\s+)?Answer\**[:\uff1a](.+)$", re.MULTILINE)
_ANSWER_SENTENCE = re.compile(r"\banswer[*_]*\s+is[*_]*:?\s+(\S.*)$", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(r"\.[*_]*\s+")
# A full stop after these ends no sentence; those after single letters are initials.
_ABBREVIATED = re.compile(r"(?:[\s.][^\W\d_]|\b(?:Mr|Mrs|Ms|Dr|St|Mt|Jr|Sr|No|vs))$")
# A full stop that belongs to the answer: "U.S.", "p.m.", "J. K.", "Acme Inc.", an ellipsis.
_OWN_STOP = re.compile(r"(?:\.\s?[^\W\d_]|\b(?:Jr|Sr|Inc|Ltd|Co|Corp|etc)|\.)\.$")
_HASHES = re.compile(r"(?:\A|\n)####[ \t]*(\S[^\n]*)\Z")
_BRACES = r"[^{}]"
for _ in range(4):  # \boxed{\frac{\sqrt{3}}{4}} and a little deeper
    _BRACES = rf"(?:[^{{}}]|\{{{_BRACES}*\}})"
_BOXED = re.compile(rf"\\boxed\s*\{{({_BRACES}*)\}}")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}")
# A span of code, where marks belong to the words, or words in bold; not the powers in 2**3.
_CODE = r"(?<!`)(`+)(?!`)([^`]+)\1(?!`)"
_CODE_OR_BOLD = re.compile(_CODE + r"|(?<!\w)\*\*(?=\S)([^*]+)(?<=\S)\*\*(?!\w)")
_CODE_SPAN = re.compile(_CODE)
_MARK = re.compile(r"\*\*|\*|__|_|`")
# Where a mark that a label opened may close: right after the label, or after a word.
_CLOSING = {
    "**": re.compile(r"\A\*\*(?!\*)|(?<!\s)\*\*(?![\w*])"),
    "*": re.compile(r"\A\*(?!\*)|(?<![\s*])\*(?![\w*])"),
    "__": re.compile(r"\A__(?!_)|(?<!\s)__(?!\w)"),
    "_": re.compile(r"\A_(?!_)|(?<![\s_])_(?!\w)"),
    "`": re.compile(r"(?<![\s`])`(?![\w`])"),
}
_PAIRS = (
    *(("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"), ('"', '"'), ("“", "”"), ("«", "»"), ("「", "」")),
    *(("**", "**"), ("*", "*"), ("__", "__"), ("_", "_")),
)
_DUNDER = re.compile(r"__[a-z]\w*__")  # Python's names rather than bold
_BULLET = re.compile(r"^\s*[-*•]\s+(?=\S)")
_SHORT_REPLY = 80
_WORD = re.compile(r"[^\W_]+")


def parse_answer(text: str) -> str | None:
    r"""Return the final answer in a solver's reply; None where it marks none.

    Where a line begins with `Answer:`, the last one counts: a `\boxed{…}` after it, what follows the colon, or what
    stands below. An earlier one is never taken instead, since it may answer a subquestion. Without such a line, in this
    order: the last `\boxed{…}`; what alone stands under a title "Answer"; a last line that begins with `####`; the last
    `Answer:` that follows a sentence; the last "the answer is …"; a reply that is one short line.
    """
    reply = without_thinking(text)
    lines = reply.split("\n")
    for at in reversed(range(len(lines))):
        if match := _ANSWER_LINE.match(lines[at]):
            below = lines[at + 1 :]
            boxed_below, boxed = _BOXED.findall("\n".join(below)), _BOXED.findall(reply)
            return _first_answer([*reversed(boxed_below), _found(match), *_items(below)[:1], *reversed(boxed)])
    candidates = [*reversed(_BOXED.findall(reply))]
    title = max((at for at, line in enumerate(lines) if _ANSWER_TITLE.match(line)), default=len(lines))
    if len(items := _items(lines[title + 1 :])) == 1:
        candidates += items
    candidates += _HASHES.findall(reply)
    candidates += reversed([_found(match) for match in _ANSWER_WITHIN_LINE.finditer(reply)])
    candidates += reversed([_first_sentence(_unbold(_found(match))) for match in _ANSWER_SENTENCE.finditer(reply)])
    if len(lines) == 1 and len(reply) <= _SHORT_REPLY and not _ANSWER_TITLE.match(reply):
        candidates.append(reply)
    return _first_answer(candidates)


def read_reply(text: str, *, is_told: bool) -> str | None:
    """Return the answer in a reply; None: there is none.

    `is_told`: whoever wrote it was told how to mark the answer; if not, an unmarked reply is one whole.
    """
    answer = parse_answer(text)
    return answer if answer is not None or is_told else " ".join(text.split()) or None


def _first_answer(candidates: Iterable[str]) -> str | None:
    return next((answer for candidate in candidates if (answer := _tidy(candidate))), None)


def _found(match: re.Match[str]) -> str:
    """Return what stands after a label, less what closes a mark that was opened before it: `**Answer: 29**` is 29."""
    before, found = match.string[: match.start(1)].rpartition("\n")[2], match[1]
    marks = Counter(mark for word in before.split() if _WORD.search(word) for mark in _MARK.findall(word))
    for mark, closing in _CLOSING.items():
        if marks[mark] % 2:
            found = closing.sub("", found, count=1)
    return found


def _items(lines: Sequence[str]) -> list[str]:
    """Return the lines that say something; a bullet list at their beginning as one, divided by commas."""
    rest = [line for line in lines if _tidy(line)]
    bullets = [_tidy(_BULLET.sub("", line)) for line in takewhile(_BULLET.match, rest)]
    return [", ".join(bullets), *rest[len(bullets) :]] if bullets else rest


def _first_sentence(text: str) -> str:
    for end in _SENTENCE_END.finditer(text):
        before, after = text[: end.start()], text[end.end() :]
        if not _ABBREVIATED.search(before[-5:]) and not re.match(r"[A-Z]\.", after):
            return before
    return text


def _unbold(text: str) -> str:
    return _CODE_OR_BOLD.sub(lambda match: match[3] or match[0], text)


def _tidy(answer: str) -> str:
    """Return an answer without the marks around it: Markdown, LaTeX and quotes that pair up, a full stop.

    A mark that has no partner, or more than one, belongs to the answer: `*args`, `*Emma* and *Persuasion*`.
    Code keeps all of its own. Empty where nothing is left but punctuation.
    """
    if boxed := _BOXED.findall(answer):
        answer = boxed[-1]
    answer = _unbold(answer)
    if "\\" in answer:
        answer = _TEXT_COMMAND.sub(r"\1", answer)
        answer = re.sub(r"\\[,;: ]", " ", answer).replace("{,}", ",")
    answer = " ".join(answer.split())
    before = None
    while answer != before:
        before = answer
        answer = answer.strip()
        if code := _CODE_SPAN.fullmatch(answer):
            answer = code[2].strip()
            break
        for left, right in _PAIRS:
            inner = answer[len(left) : -len(right)]
            if answer != left + inner + right or _DUNDER.fullmatch(answer):
                continue
            if right not in _CODE_SPAN.sub("", inner).replace("\\" + right, ""):
                answer = inner.strip()
        if answer.endswith("。") or (answer.endswith(".") and not _OWN_STOP.search(answer[-6:])):
            answer = answer[:-1]
    answer = re.sub(r"\\([$%#&])", r"\1", answer)
    # A backtick is a symbol to Unicode and a mark to Markdown.
    return answer if any(unicodedata.category(character)[0] in "LNS" for character in answer.replace("`", "")) else ""
