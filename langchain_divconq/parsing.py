"""Model text → plans and answers. Pure functions: any text is accepted, only our errors come out."""

import re
from collections.abc import Sequence
from itertools import pairwise

from langchain_divconq.errors import DecompositionError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Question, references

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_NUMBERED = re.compile(
    r"^[\s>*_#-]*(?:sub-?question|question|step|q)?\s*([0-9]{1,3})\s*[.):]\**\s+(\S.*)$", re.IGNORECASE
)
_ANSWER_LINE = re.compile(r"^[\s>*_#-]*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?[\s*_]*[::][\s*_]*(.*)$", re.IGNORECASE)
_ANSWER_SENTENCE = re.compile(r"\banswer\s+is:?\s+(.+?)(?:\.\s|\.?$)", re.IGNORECASE | re.MULTILINE)
_HASHES = re.compile(r"^####\s*(.+)$", re.MULTILINE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}")
_SHORT_REPLY = 80
_WORD = re.compile(r"[^\W_]+")


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
            subquestion refers to itself or to a later one.
    """
    reply = _THINKING.sub("", text).strip()
    numbered = [match.groups() for line in reply.split("\n") if (match := _NUMBERED.match(line))]
    if not numbered:
        if _normalise(NO_DECOMPOSITION) in _normalise(reply):
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
        if bad := [n for n in references(subquestion) if not 1 <= n < expected]:
            raise DecompositionError(
                f"Subquestion {expected} refers to #{bad[0]}, which is not an earlier one: {_excerpt(subquestion)}.",
                llm_output=text,
            )
        subquestions.append(subquestion)
    return tuple(subquestions)


def clean_plan(subquestions: Sequence[str], question: Question, max_subquestions: int) -> tuple[str, ...]:
    """Return the plan without what adds nothing: repeats, restatements of the question, and what exceeds the cap.

    A reference to a repeat is turned to the subquestion it repeats. What refers to a restatement goes with it, since
    its answer would be the answer to the question. References are renumbered.

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
        subquestion = re.sub(r"#([0-9]+)", lambda match: f"#{new_number[int(match[1])]}", original)
        key = _normalise(subquestion)
        if not key or key in restated:
            continue
        earlier = next((n for n, text in enumerate(kept, start=1) if _normalise(text) == key), None)
        if earlier is None:
            if len(kept) == max_subquestions:
                break
            kept.append(subquestion)
        new_number[number] = earlier or len(kept)
    return tuple(kept)


def parse_answer(text: str) -> str | None:
    r"""Return the final answer in a solver's reply; None where it marks none.

    In this order: the last line that begins with `Answer:`; the last `\boxed{…}`; the last line that begins with
    `####`; the last "the answer is …"; a reply that is one short line.
    """
    reply = _THINKING.sub("", text)
    lines = reply.split("\n")
    for position in range(len(lines) - 1, -1, -1):
        if match := _ANSWER_LINE.match(lines[position]):
            found = match[1].strip() or next((line for line in lines[position + 1 :] if line.strip()), "")
            if answer := _tidy(found):
                return answer
    for pattern in (_BOXED, _HASHES, _ANSWER_SENTENCE):
        for found in reversed(pattern.findall(reply)):
            if answer := _tidy(found):
                return answer
    alone = reply.strip()
    return _tidy(alone) or None if "\n" not in alone and len(alone) <= _SHORT_REPLY else None


def parse_subanswers(text: str, count: int) -> tuple[str, ...] | None:
    """Return what a fused reply says to each subquestion; None where the parts cannot be told apart for certain.

    Args:
        text: The reply of one call that answers all subquestions.
        count: How many subquestions it was given.
    """
    lines = _THINKING.sub("", text).split("\n")
    starts = [(index, int(match[1])) for index, line in enumerate(lines) if (match := _NUMBERED.match(line))]
    if [number for _, number in starts] != list(range(1, count + 1)):
        return None
    end = next((i for i, line in enumerate(lines) if i > starts[-1][0] and _ANSWER_LINE.match(line)), len(lines))
    bounds = [index for index, _ in starts] + [end]
    parts = []
    for start, stop in pairwise(bounds):
        match = _NUMBERED.match(lines[start])
        assert match is not None  # `starts` holds the lines that match.
        parts.append("\n".join([match[2], *lines[start + 1 : stop]]).strip())
    return tuple(parts)


def _tidy(answer: str) -> str:
    """Return an answer without the marks around it: bold, LaTeX, quotes that pair up, a full stop."""
    if boxed := _BOXED.findall(answer):
        answer = boxed[-1]
    answer = _TEXT_COMMAND.sub(r"\1", answer).strip().strip("*_`").strip()
    for left, right in (("\\(", "\\)"), ("$", "$"), ('"', '"'), ("“", "”")):
        if len(answer) > len(left) + len(right) and answer.startswith(left) and answer.endswith(right):
            answer = answer[len(left) : -len(right)].strip()
    if answer.endswith(".") and not re.search(r"(?:\b\w\.|\.\w+\.|\.\.)$", answer):
        answer = answer[:-1].rstrip()
    return answer if _WORD.search(answer) else ""


def _last_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s+", text.strip())[-1]


def _normalise(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
