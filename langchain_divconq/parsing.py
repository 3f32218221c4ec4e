"""Model text → plans and answers. Pure functions: any text is accepted, only our errors come out."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

from langchain_divconq.errors import DecompositionError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Question, fill_references, references

# Thinking opens a line, or (where the chat template opened it) closes on a line of its own. A plan's lines do neither,
# so a subquestion about these tags stays whole.
_THINKING = re.compile(
    r"\A(?:(?!^[ \t]*<(?:think|thinking|thought)>).)*?^[ \t]*</(?:think|thinking|thought)>[ \t\r]*$"
    r"|^[ \t]*<(think|thinking|thought)>.*?(?:</\1>|\Z)",
    re.DOTALL | re.MULTILINE,
)
_NUMBERED = re.compile(
    r"^[\s>*_#-]*\(?(?:(?:sub-?question|question|step|q)\s*#?)?([0-9]{1,3})[*_]*\s*[.):][*_]*(?:\s+(\S.*))?$",
    re.IGNORECASE,
)
_NONE_NEEDED = re.compile(r"\bno decomposition (?:is )?(?:needed|required|necessary)\b")
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
_MEANINGFUL = "#%&*/@-"  # punctuation that tells questions apart: it calculates, or names things
_GIVEN = re.compile(r"Given #[1-9](?:(?:, | and )#[1-9])*, ", re.IGNORECASE)
_SENTENCES = re.compile(r"[.!?]\W?\s+|(?<=[\u3002\uff01\uff1f])")


def render_plan(subquestions: Sequence[str]) -> str:
    """Return the text a decomposer is to write for these subquestions; the sentinel where there are none."""
    if not subquestions:
        return NO_DECOMPOSITION
    return "\n".join(f"{number}. {subquestion}" for number, subquestion in enumerate(subquestions, start=1))


def parse_plan(text: str) -> tuple[str, ...]:
    """Return the subquestions in a decomposer's reply; an empty tuple where it says that none are needed.

    Lenient in form (a preamble, bold numbers, `1)` or `Q1:` are read), strict in what it means.

    Args:
        text: The reply, thinking in `<think>` tags included.

    Raises:
        DecompositionError: There is no numbered subquestion and no sentinel, the numbers are not 1, 2, 3 …, or a
            subquestion is empty or refers to itself or to a later one.
    """
    reply = _THINKING.sub("", text).strip()
    numbered = [match.groups() for line in reply.split("\n") if (match := _NUMBERED.match(line)) and match[2]]
    if len(numbered) == 1 and _NONE_NEEDED.match(_words(numbered[0][1])):
        return ()
    if not numbered:
        if _NONE_NEEDED.search(_words(reply)):
            return ()
        raise DecompositionError(
            f"The decomposer wrote no plan: expected numbered lines or {NO_DECOMPOSITION!r}, got {_excerpt(reply)}.",
            llm_output=text,
        )
    subquestions = []
    for expected, (number, words) in enumerate(numbered, start=1):
        if int(number) != expected:
            raise DecompositionError(
                f"The plan's numbers do not run 1, 2, 3 …: line {expected} is numbered {number} in {_excerpt(reply)}.",
                llm_output=text,
            )
        subquestion = " ".join(words.strip("*_ \t\r").split())
        if not subquestion:
            raise DecompositionError(f"Subquestion {expected} is empty in {_excerpt(reply)}.", llm_output=text)
        if bad := [n for n in references(subquestion) if not 1 <= n < expected]:
            raise DecompositionError(
                f"Subquestion {expected} refers to #{bad[0]}, which is not an earlier one: {_excerpt(subquestion)}.",
                llm_output=text,
            )
        subquestions.append(subquestion)
    return tuple(subquestions)


def clean_plan(subquestions: Sequence[str], question: Question, max_subquestions: int) -> tuple[str, ...]:
    """Return the plan without what adds nothing: repeats, restatements of the question, and what exceeds the cap.

    "Given #1, …" asks nothing else than what follows it. A reference to a repeat is turned to the subquestion it
    repeats. What refers to a restatement goes with it, since its answer would be the answer to the question. References
    are renumbered.

    Args:
        subquestions: As parsed: references point to earlier ones.
        question: What was divided.
        max_subquestions: The cap; what comes after it is cut, so no reference is left hanging.
    """
    restated = {_normalise(question.text), _normalise(_last_sentence(question.text))}
    kept: list[str] = []
    new_number: dict[int, int] = {}
    for number, original in enumerate(subquestions, start=1):
        if any(needed not in new_number for needed in references(original)):
            continue
        subquestion = fill_references(" ".join(original.split()), {old: f"#{new}" for old, new in new_number.items()})
        key = _key(subquestion)
        if not _WORD.search(subquestion) or key in restated:
            continue
        earlier = next((n for n, text in enumerate(kept, start=1) if _key(text) == key), None)
        if earlier is None:
            if len(kept) == max_subquestions:
                break
            kept.append(subquestion)
        new_number[number] = earlier or len(kept)
    return tuple(kept)


def parse_answer(text: str) -> str | None:
    r"""Return the final answer in a solver's reply; None where it marks none.

    Where a line begins with `Answer:`, the last one counts: a `\boxed{…}` after it, what follows the colon, or what
    stands below. An earlier one is never taken instead, since it may answer a subquestion. Without such a line, in this
    order: the last `\boxed{…}`; what alone stands under a title "Answer"; a last line that begins with `####`; the last
    `Answer:` that follows a sentence; the last "the answer is …"; a reply that is one short line.
    """
    reply = _THINKING.sub("", text).strip()
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


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
