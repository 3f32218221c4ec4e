"""The comparison of answers with gold answers. Pure functions, strict: what cannot be read is wrong, equal to nothing.

`same_answer` decides in screening; `drop_score` is DROP's published measure, written anew from its rules.
"""

import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf

_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?[$€£¥]?\s?(?P<inner>-?)"
    rf"(?P<value>{_DIGITS}\s?/\s?{_DIGITS}|{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?P<rest>.*)",
    re.DOTALL,
)
_LONGEST = 200
"""Longest numeral that is read, in characters: Python refuses to read numbers without end."""
_NUMERAL = re.compile(
    rf"(?P<sign>(?<![\w).%])-[$€£¥]?|[$€£¥]-)?(?<![^\W_])(?<![0-9]\.)(?P<value>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?!\.?[0-9]|(?:st|nd|rd|th|s)\b)(?: (?P<scale>hundred|thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
# What leaves a calculation open, with a variable in it or a power of ten, is a range, a time of day, or adds a part
# that numerals do not show.
_OPEN = re.compile(
    r"(?:[0-9)]|\b[a-zA-Z])\s?[-+*/\u00d7\u00f7^:]\s?[$€£¥]?[(]?[0-9]|[0-9)]\s?x\s?[$€£¥]?[(]?[0-9]"
    r"|[0-9)]\s?[-+*\u00d7\u00f7^]\s?[a-zA-Z]\b|[0-9][eE][-+]?[0-9]"
    r"|\band (?:a|one|two|three)[ -](?:half|third|fourth|quarter)"
)
_SPELLED = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_MAGNITUDES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Lower case, since in "12 Angry Men" and "6 PM" the words are no unit. Nor is "2nd" or "3 and a half" the number alone.
_UNIT = re.compile(
    r"(?!(?:st|nd|rd|th|s)\b| (?:and|or|to|half|hundred|dozen)\b)"
    r"\s?(?:%|°[CF]?)?\s?(?:[a-z][a-z./-]*(?: [a-z./-]+){0,2})?"
)
_LIST = re.compile(r", (?:and )?| and ")
_VERDICT = re.compile(r"(yes|no|true|false)(?:\s*[,.;:!(].*| -.*)?", re.DOTALL)
_VERDICTS = {"yes": True, "true": True, "no": False, "false": False}
# Before NFKC, which makes 82 of 8² and 31/2 of 3½.
_POWER = re.compile(r"(?<=[0-9)])(?=[⁰¹²³⁴-⁹])")
_FRACTION = re.compile("(?=[¼-¾⅐-⅞])")
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True)
class Quantity:
    """A number with the words of its unit, which may be none."""

    number: Fraction
    unit: str


def same_answer(prediction: str | None, gold: str) -> bool:
    """Return whether a prediction says the same as a gold answer.

    Numbers are compared as numbers, exactly: 1,200 is $1200.00, and 0.5 is .5 and 1/2. 72% is 72, not 0.72; 2 million
    is 2,000,000; zero to twelve may be spelled out where they stand alone. A unit may be missing on one side (36 pens
    is 36), but two units must agree; several numbers must come in the gold answer's order. "Yes" is "true" and "no" is
    "false", whatever follows after a comma. All else is compared as text, without case, articles, punctuation and kinds
    of dash or space.

    A prediction without a letter or digit is wrong.
    """
    if prediction is None:
        return False
    answered, right = _plain(prediction), _plain(gold)
    if not any(character.isalnum() for character in answered):
        return False
    mine, theirs = parse_verdict(answered), parse_verdict(right)
    if theirs is not None:
        return mine is theirs
    several, wanted = parse_quantities(answered), parse_quantities(right)
    if several and wanted:
        return len(several) == len(wanted) and all(map(_agree, several, wanted))
    return normalise(answered) == normalise(right)


def parse_verdict(text: str) -> bool | None:
    """Return what a yes or no says; None where the text is neither."""
    match = _VERDICT.fullmatch(text.casefold())
    return _VERDICTS[match[1]] if match else None


def parse_quantity(text: str) -> Quantity | None:
    """Return the number a text consists of, with its unit; None where it says more, or there is none."""
    if text.casefold() in _SPELLED:
        return Quantity(Fraction(_SPELLED.index(text.casefold())), "")
    match = _NUMBER.fullmatch(text)
    if match is None or (match["sign"] and match["inner"]) or len(match["value"]) > _LONGEST:
        return None
    rest, scale = match["rest"], 1
    first, _, after = rest.strip().partition(" ")
    if rest[:1].isspace() and first.casefold() in _MAGNITUDES:
        rest, scale = f" {after}", _MAGNITUDES[first.casefold()]
    above, _, below = re.sub(r"[,\s]", "", match["value"]).partition("/")
    if not _UNIT.fullmatch(rest) or (below and not int(below)):
        return None
    number = scale * Fraction(above) / Fraction(below or 1)
    negative = "-" in (match["sign"], match["inner"])
    return Quantity(-number if negative else number, rest.strip("%° ."))


def parse_quantities(text: str) -> list[Quantity]:
    """Return the numbers of a list in order, or a single one; nothing where the text says anything else."""
    quantities = [parse_quantity(part) for part in _LIST.split(text)]
    return [quantity for quantity in quantities if quantity] if all(quantities) else []


def parse_number(text: str) -> Fraction | None:
    """Return the one number an answer names; None where it names none, or several that differ.

    After an equals sign only what follows the last one counts: "6 * 12 = 72" is 72. Currency, separators of thousands,
    a percent sign and whatever words stand around the number are passed over; "2 million" is 2,000,000; ordinals and
    decades are no numbers. An open calculation ("5 + 5"), a range, a time of day and "3 and a half" name none.
    """
    plain = _plain(_plain(text).rpartition("=")[2])
    if quantity := parse_quantity(plain):
        return quantity.number
    numbers = set(find_numbers(plain))
    return None if _OPEN.search(plain) or len(numbers) != 1 else numbers.pop()


def find_numbers(text: str) -> list[Fraction]:
    """Return the numbers written in figures in a text, in order: whole tokens, so there is no 2 in 12 or in x2."""
    return [
        (-1 if match["sign"] else 1)
        * (_MAGNITUDES[match["scale"].casefold()] if match["scale"] else 1)
        * Fraction(match["value"].replace(",", ""))
        for match in _NUMERAL.finditer(_plain(text))
        if len(match["value"]) <= _LONGEST
    ]


def _agree(one: Quantity, other: Quantity) -> bool:
    return one.number == other.number and (one.unit == other.unit or not (one.unit and other.unit))


def normalise(text: str) -> str:
    """Return a text without what makes no difference between two answers.

    That is case, accents, articles, punctuation and spacing; BCE is BC.
    """
    plain = _without_accents(_plain(text).casefold()).replace("-", " ")
    words = "".join(c for at, c in enumerate(plain) if not _is_idle(plain, at)).split()
    words = ["bc" if word == "bce" else word for word in words]
    bare = " ".join(word for word in words if word not in _ARTICLES)
    return bare if any(map(str.isalnum, bare)) else " ".join(words)


def _without_accents(text: str) -> str:
    """Return a text with Latin letters bare; other scripts keep their marks, which are letters there."""
    bare = "".join(
        c[0] if len(c := unicodedata.normalize("NFKD", letter)) > 1 and c[0].isascii() else letter for letter in text
    )
    return unicodedata.normalize("NFKC", bare)


def _is_idle(text: str, at: int) -> bool:
    """Return whether a character is punctuation, but for that within numbers: 3,5 is not 35."""
    within_number = text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()
    return unicodedata.category(text[at])[0] == "P" and not within_number


def _plain(text: str) -> str:
    """Return a text with one kind of dash and of space, without what closes a sentence."""
    text = _FRACTION.sub(" ", _POWER.sub("^", text.replace("{,}", ",")))
    text = _DASHES.sub("-", unicodedata.normalize("NFKC", text).replace("\u2044", "/"))
    return " ".join(text.split()).rstrip(".!;,: ")


def drop_score(
    prediction: str | Sequence[str] | None, references: Sequence[str | Sequence[str]]
) -> tuple[float, float]:
    """Return DROP's exact match (0 or 1) and F1 (to two places), each for the reference that suits it best.

    Spans are matched one to one so that F1 is highest. Where a reference span holds numbers, one that shares none of
    them scores nothing. Each span left over, on either side, counts as a zero.

    Several spans are given as a list; a blank reference is none.
    """
    if prediction is None:
        return 0.0, 0.0
    scores = [
        _drop_pair(_drop_spans(prediction), _drop_spans(reference))
        for reference in references
        if "".join(reference).strip()
    ]
    return max((em for em, _ in scores), default=0.0), max((f1 for _, f1 in scores), default=0.0)


def _drop_spans(answer: str | Sequence[str]) -> list[str]:
    return [_drop_normalise(span) for span in ([answer] if isinstance(answer, str) else answer)]


def _drop_pair(predicted: list[str], gold: list[str]) -> tuple[float, float]:
    exact = float(set(predicted) == set(gold) and len(predicted) == len(gold))
    matrix = [[_drop_f1(set(p.split()), set(g.split())) for p in predicted] for g in gold]
    size = max(len(predicted), len(gold))
    return exact, round(best_assignment(matrix) / size, 2) if size else 0.0


def _drop_f1(predicted: set[str], gold: set[str]) -> float:
    numbers = {word for word in gold if _is_float(word)}
    if numbers and not numbers & predicted:
        return 0.0
    shared = len(gold & predicted)
    precision = shared / len(predicted) if predicted else 1.0
    recall = shared / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best_assignment(matrix: Sequence[Sequence[float]]) -> float:
    """Return the highest sum of entries no two of which share a row or a column (the Hungarian method)."""
    columns = list(zip(*matrix, strict=True))
    few, many = (matrix, columns) if len(matrix) < len(columns) else (columns, matrix)
    # Row 0 and column 0 are nobody's. `row_of` pairs columns with rows. Prices of rows and columns say how much of an
    # entry is accounted for already; each new row goes along the path of entries that are nearest to their prices.
    row_price, column_price, row_of = [0.0] * (len(few) + 1), [0.0] * (len(many) + 1), [0] * (len(many) + 1)
    for new in range(1, len(few) + 1):
        row_of[0], column = new, 0
        slack, before, visited = [inf] * len(column_price), [0] * len(column_price), {0}
        while row_of[column]:
            row = row_of[column]
            free = [at for at in range(1, len(column_price)) if at not in visited]
            for at in free:
                if (short := -few[row - 1][at - 1] - row_price[row] - column_price[at]) < slack[at]:
                    slack[at], before[at] = short, column
            column = min(free, key=slack.__getitem__)
            step = slack[column]
            for at in visited:
                row_price[row_of[at]] += step
                column_price[at] -= step
            for at in free:
                slack[at] -= step
            visited.add(column)
        while column:
            row_of[column] = row_of[before[column]]
            column = before[column]
    return sum(few[row - 1][at - 1] for at, row in enumerate(row_of) if at and row)


def _drop_normalise(text: str) -> str:
    words = []
    for token in re.split("[ -]", text.lower()):
        word = token if _is_float(token) else "".join(c for c in token if c not in string.punctuation)
        word = str(float(word)) if _is_float(word) else re.sub(r"\b(?:a|an|the)\b", " ", word)
        words += word.split()
    return " ".join(words)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
