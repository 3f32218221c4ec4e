from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from training.scoring import drop_score, find_numbers, normalise, parse_number, parse_quantity, same_answer

any_text = st.text(max_size=40) | st.text(alphabet="0123456789.,/-+=$% abcthe½²\u2013\n", max_size=25)
any_spans = st.lists(any_text, max_size=6)


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("1,200", "1200"),
        ("$1200.00", "1200"),
        ("$ 1,200", "1200"),
        ("1200.", "1200"),
        ("0.5", ".5"),
        ("1/2", "0.5"),
        ("½", "0.5"),
        ("007", "7"),
        ("-5", "\u22125"),
        ("-$5", "$-5"),
        ("72%", "72"),
        ("72 percent", "72"),
        ("36 pens", "36"),
        ("36pens", "36"),
        ("36", "36 pens"),
        ("36 km/h", "36"),
        ("10 °C", "10"),
        ("$2 million", "2000000"),
        ("2.5 thousand people", "2,500"),
        ("three", "3"),
        ("Twelve", "12"),
        ("4,884 meters", "4,884 m"),
        ("310 km\u00b2", "310 square kilometers"),
        ("320 kilometers per hour", "320 km/h"),
        ("$148 and $1,296", "148, 1296"),
        ("3 ft, 4 ft, and 5 ft", "3, 4, 5"),
    ],
)
def test_numbers_are_compared_as_numbers(prediction: str, gold: str) -> None:
    assert same_answer(prediction, gold)


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("36", "35"),
        ("0.72", "72%"),
        ("3.33", "10/3"),
        ("36 pens", "36 boxes"),
        ("6,300 km", "6,300 m"),
        ("8\u00b2", "82"),
        ("2nd", "2"),
        ("1990s", "1990"),
        ("3 and a half", "3"),
        ("2 hundred", "2"),
        ("12 Angry Men", "12"),
        ("6 PM", "6"),
        ("6:30", "6"),
        ("3-4", "3"),
        ("3-4", "34"),
        ("3,5", "35"),
        ("1.2.3", "123"),
        ("5/0", "5"),
        ("36 or 37", "36"),
        ("5 June", "5"),
        ("3 and 4", "4, 3"),
        ("3 and 4", "3"),
        ("3", "3 and 4"),
        ("3, 4 and 5", "3, 4"),
    ],
)
def test_what_says_another_number_or_more_than_one_is_wrong(prediction: str, gold: str) -> None:
    assert not same_answer(prediction, gold)


@pytest.mark.parametrize(
    ("prediction", "gold", "same"),
    [
        ("Yes", "yes", True),
        ("True", "yes", True),
        ("no", "False", True),
        ("No, a whale is heavier", "no", True),
        ("Yes. It could.", "true", True),
        ("yes", "no", False),
        ("No one", "no", False),
        ("Not really", "no", False),
        ("Yesterday", "yes", False),
        ("It is yes", "yes", False),
        ("True North", "true north", True),
    ],
)
def test_yes_and_no_are_told_from_other_words(prediction: str, gold: str, same: bool) -> None:
    assert same_answer(prediction, gold) is same


@pytest.mark.parametrize(
    ("prediction", "gold", "same"),
    [
        ("The Old Mill", "old mill", True),
        ("  the old\tmill. ", "Old Mill", True),
        ("J.K. Almond", "JK Almond", True),
        ("Ashton-under-Hill", "Ashton\u2013under\u2013Hill", True),
        ("Ashton-under-Hill", "Ashton under Hill", True),
        ("O\u2019Hara", "O'Hara", True),
        ("A", "a", True),
        ("Toghon Temur", "Toghon Tem\u00fcr", True),
        ("1045 BCE", "1045 BC", True),
        ("\u0439", "\u0438", False),
        ("the old mill", "the new mill", False),
        ("the old mill and the new mill", "the old mill", False),
        ("old", "the old mill", False),
    ],
)
def test_text_is_compared_without_case_articles_and_punctuation(prediction: str, gold: str, same: bool) -> None:
    assert same_answer(prediction, gold) is same


@pytest.mark.parametrize("prediction", [None, "", " ", "?", "...", "-", "**"])
@pytest.mark.parametrize("gold", ["", "?", "36", "yes"])
def test_no_answer_equals_nothing_and_not_even_another_one(prediction: str | None, gold: str) -> None:
    assert not same_answer(prediction, gold)


@given(st.integers(), st.integers())
def test_two_whole_numbers_are_the_same_when_they_are_equal(one: int, other: int) -> None:
    assert same_answer(f"{one:,}", f"{one}")
    assert same_answer(f"{one:,}", f"{other}") is (one == other)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_two_texts_compare_and_in_both_directions_alike(one: str, other: str) -> None:
    assume(any(c.isalnum() for c in one) and any(c.isalnum() for c in other))
    assert same_answer(one, other) is same_answer(other, one)


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(any_text, any_text)
@example("+ A", "")
def test_whatever_the_text_it_is_compared_and_numbers_are_read_or_there_are_none(one: str, other: str) -> None:
    parse_quantity(one)
    parse_number(one)
    find_numbers(one)
    assert same_answer(one, other) in (True, False)
    assert same_answer(one, one) is any(c.isalnum() for c in normalise(one))


def test_numerals_too_long_for_python_are_no_numbers() -> None:
    endless = "9" * 5000
    assert parse_quantity(endless) is None
    assert parse_number(endless) is None
    assert find_numbers(f"{endless} and 5") == [5]
    assert same_answer(endless, endless)
    assert not same_answer(endless, "9")
    assert drop_score(endless, ["9"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", 72),
        ("$1,234.50", Fraction("1234.5")),
        ("-5", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("72%", 72),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("seven", 7),
        ("72 pens", 72),
        ("She has 72 pens left over.", 72),
        ("Ana pays $72 in all (72 dollars)", 72),
        ("6 * 12 = 72", 72),
        ("6 * 12 = 70 + 2 = $72 a week", 72),
        ("x = -3", -3),
        ("2 million", 2_000_000),
        ("It costs $2.5 thousand", 2500),
        ("2 hundred", 200),
        ("On the 3rd day Ana has 72", 72),
        ("In the 1990s there were 40", 40),
        ("3 dozen", 3),
        ("5 m\u00b2", 5),
        ("310 km\u00b2", 310),
        ("minus 5", -5),
        ("It is negative $5", -5),
        ("1{,}200", 1200),
        ("$5/h", 5),
        ("L - 8", None),
        ("x + 8", None),
        ("n/8", None),
        ("8 - x", None),
        ("1e3", None),
        ("8\u00b2", None),
        ("3\u00bd", None),
        ("10 minus 5", None),
        ("1,2345", None),
        ("36 or 37", None),
        ("5,10,15", None),
        ("5 + 5", None),
        ("72 = 6 * 12", None),
        ("6x12", None),
        ("5-5", None),
        ("7\u20139", None),
        ("7:07", None),
        ("3 and a half", None),
        ("2 hours and 30 minutes", None),
        ("the 3rd", None),
        ("x2", None),
        ("none", None),
        ("", None),
        ("6 * 12 =", None),
    ],
)
def test_an_answer_names_one_number_or_none(text: str, number: Fraction | int | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("12 and 1,200.50, then -3.", [12, Fraction("1200.5"), -3]),
        ("10-5 is 5", [10, 5, 5]),
        ("x2, H2O, 2nd, 1990s, v1.2", []),
        ("1.2.3", []),
        ("36pens", [36]),
        ("(4)", [4]),
        ("no figures", []),
    ],
)
def test_numbers_are_found_as_whole_tokens(text: str, numbers: list[Fraction]) -> None:
    assert find_numbers(text) == numbers


@given(st.integers())
def test_a_whole_number_is_read_however_it_is_dressed(number: int) -> None:
    for dressed in (f"{number}", f"{number:,}", f"{number}.00", f"{number} pens", f"It is {number}.", f"9 = {number}"):
        assert parse_number(dressed) == number


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        ("Ana Ruiz", "ana ruiz", 1, 1.0),
        ("the Ruiz", "Ruiz", 1, 1.0),
        ("Ana Ruiz", "Ruiz", 0, 0.67),  # precision 1/2, recall 1
        ("Ana Maria Ruiz", "Ana Ruiz", 0, 0.8),  # 2/3 and 1
        ("Ana-Maria", "Ana Maria", 1, 1.0),
        ("Weber", "Ruiz", 0, 0.0),
        ("5", "5", 1, 1.0),
        ("5.0", "5", 1, 1.0),
        ("1,000", "1000", 1, 1.0),
        ("five", "5", 0, 0.0),
        ("5 yards", "5", 0, 0.67),
        ("6 yards", "5 yards", 0, 0.0),  # the words alone count for nothing where the number differs
        ("yards", "5 yards", 0, 0.0),
        ("5 yards", "yards", 0, 0.67),  # a number too many costs precision alone
        (["Ana", "Ruiz"], ["Ruiz", "Ana"], 1, 1.0),
        (["Ana"], ["Ana", "Ruiz"], 0, 0.5),
        (["Ana", "Ruiz", "Weber"], ["Ana", "Ruiz"], 0, 0.67),
        (["Ana", "Ana"], ["Ana"], 0, 0.5),
        (["Ana Ruiz", "Ben Weber"], ["Ben", "Ana Ruiz"], 0, 0.83),  # (1 + 2/3) / 2
        ([], ["Ana"], 0, 0.0),
        # Case, articles, spacing.
        ("ANA RUIZ", "Ana Ruiz", 1, 1.0),
        ("an old mill", "the old mill", 1, 1.0),
        ("a", "the", 1, 1.0),  # both are nothing but an article
        ("a", "Ana", 0, 0.0),  # nothing against something: precision 1 by definition, recall 0
        ("Theatre", "atre", 0, 0.0),  # an article is a whole word
        ("  Ana \t Ruiz ", "Ana Ruiz", 1, 1.0),
        ("Ana\nRuiz", "Ana Ruiz", 1, 1.0),
        # Punctuation is deleted, a hyphen divides, no other dash does.
        ("Ana Ruiz.", "Ana Ruiz", 1, 1.0),
        ("'Ana', Ruiz!", "Ana Ruiz", 1, 1.0),
        ("J.K. Ruiz", "JK Ruiz", 1, 1.0),
        ("J. K. Ruiz", "JK Ruiz", 0, 0.4),  # j, k, ruiz against jk, ruiz: 1/3 and 1/2
        ("O'Hara", "OHara", 1, 1.0),
        ("Ruiz/Weber", "RuizWeber", 1, 1.0),
        ("Ana\u2013Maria", "Ana Maria", 0, 0.0),
        ("left-back", "back left", 0, 1.0),  # the same bag in another order
        ("Caf\u00e9 Ruiz", "Cafe Ruiz", 0, 0.5),  # accents count
        # Words are a set: said twice is said once.
        ("Ana Ana Ruiz", "Ana Ruiz", 0, 1.0),
        ("Ruiz Ana", "Ana Ruiz", 0, 1.0),
        ("Ben Ruiz of the north", "Ben Ruiz", 0, 0.67),  # 2/4 and 1
        ("Ben", "Ben Ruiz of the north", 0, 0.4),  # 1 and 1/4
        # Numbers.
        ("05", "5", 1, 1.0),
        ("5.", "5", 1, 1.0),
        (".50", "0.5", 1, 1.0),
        ("1e1", "10", 1, 1.0),
        ("-5", "5", 1, 1.0),  # the hyphen divides
        ("$5", "5", 1, 1.0),
        ("5%", "5", 1, 1.0),
        ("5.5%", "5.5", 0, 0.0),  # with its point deleted it is 55
        ("5.5%", "55", 1, 1.0),
        ("1,000.5", "1000.5", 0, 0.0),  # likewise
        ("3-4", "3 4", 1, 1.0),
        ("3-4", "3", 0, 0.67),
        ("2nd", "2", 0, 0.0),
        ("12", "1 2", 0, 0.0),
        ("5 yards", "5 metres", 0, 0.5),
        ("5 yards", "6 5", 0, 0.5),  # one of two numbers is enough
        ("five yards", "5 yards", 0, 0.0),
        ("yards 5", "5 yards", 0, 1.0),
        # Dates are text with numbers in it.
        ("3 May 1807", "3 May 1807", 1, 1.0),
        ("May 3, 1807", "3 May 1807", 0, 1.0),
        ("May 1807", "3 May 1807", 0, 0.8),  # 1 and 2/3
        ("3 May", "3 May 1807", 0, 0.8),
        ("May", "3 May 1807", 0, 0.0),
        ("3 June 1807", "3 May 1807", 0, 0.67),
        ("4 May 1808", "3 May 1807", 0, 0.0),
        ("1807", "May 1807", 0, 0.67),
        ("3rd May 1807", "3 May 1807", 0, 0.67),
        # Several spans.
        (["Ana", "Ben"], ["Ben", "Cleo"], 0, 0.5),
        (["Ana", "Ben", "Cleo"], ["Cleo"], 0, 0.33),
        (["Ana", "Ben", "Cleo"], ["Cleo", "Ben", "Ana"], 1, 1.0),
        ("Ana and Ben", ["Ana", "Ben"], 0, 0.25),  # one span of three words; 1/3 and 1, halved
        (["Ana", "Ben"], "Ana and Ben", 0, 0.25),  # 1 and 1/3, halved
        (["5", "6"], ["6.0", "5.0"], 1, 1.0),
        (["5 yards", "6 yards"], ["6 yards", "7 yards"], 0, 0.5),
        (["5", "6"], ["7", "8"], 0, 0.0),
        (["the mill", "an inn"], ["Mill", "Inn"], 1, 1.0),
        (["Ana Ruiz", "Ben Ruiz"], ["Ana", "Ben"], 0, 0.67),
        (["Ana", "Ana", "Ben"], ["Ana", "Ben", "Ben"], 1, 0.67),  # exact match compares sets and counts
        (["Ana", ""], ["Ana"], 0, 0.5),
    ],
)
def test_drop_scores_a_pair_by_its_published_rules(
    prediction: str | list[str], reference: str | list[str], exact: float, f1: float
) -> None:
    assert drop_score(prediction, [reference]) == (exact, f1)


def test_drop_matches_spans_so_that_the_whole_scores_best() -> None:
    # Span by span, "Ana Ruiz" would take "Ana" and leave nothing to the other.
    assert drop_score(["Ana Ruiz", "Ana"], [["Ana", "Ruiz"]]) == (0.0, 0.83)


def test_drop_takes_the_reference_that_suits_best_for_each_score() -> None:
    assert drop_score("Ana Ruiz", ["Weber", "Ruiz", "ana ruiz"]) == (1.0, 1.0)
    assert drop_score("Ana Ruiz", ["Weber", "Ruiz"]) == (0.0, 0.67)
    assert drop_score("Ana", []) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("5", ["4", "5"], 1, 1.0),
        ("5", ["4", "6"], 0, 0.0),
        ("5 yards", ["5", "yards 5 yards"], 0, 1.0),  # the second holds the same words
        (["Ana", "Ben"], ["Ana", ["Ben", "Ana"]], 1, 1.0),
        ("Ana", [["Ana", "Ben"], "Ana Ruiz"], 0, 0.67),  # 0.5 and 0.67
        ("Ana", ["", "Ana"], 1, 1.0),
        ("", ["", "Ana"], 0, 0.0),  # a blank reference is none
        ("the", [" "], 0, 0.0),
    ],
)
def test_drop_scores_several_references_by_the_best(
    prediction: str | list[str], references: list[str | list[str]], exact: float, f1: float
) -> None:
    assert drop_score(prediction, references) == (exact, f1)


def test_drop_gives_no_answer_nothing() -> None:
    assert drop_score(None, ["Ana"]) == (0.0, 0.0)
    assert drop_score("", ["Ana"]) == (0.0, 0.0)


@given(any_spans, st.lists(any_text | any_spans, max_size=3))
def test_drop_scores_anything_between_nothing_and_full_marks(
    spans: list[str], references: list[str | list[str]]
) -> None:
    exact, f1 = drop_score(spans, references)
    assert exact in (0.0, 1.0)
    assert 0.0 <= f1 <= 1.0


@given(any_spans)
def test_drop_gives_a_reference_itself_full_marks(spans: list[str]) -> None:
    assume(any(span.strip() for span in spans))
    assert drop_score(spans, [spans]) == (1.0, 1.0)


words = st.sampled_from(["Ana", "Ben", "Ana Ruiz", "5", "6", "5 yards", "6 yards", "Ruiz", "Ana Ben"])


@given(st.lists(words, max_size=4, unique=True), st.lists(words, min_size=1, max_size=4, unique=True))
def test_what_drop_matches_exactly_has_full_f1(spans: list[str], reference: list[str]) -> None:
    exact, f1 = drop_score(spans, [reference])
    assert not exact or f1 == 1.0


@given(st.lists(words, min_size=1, max_size=5), st.lists(words, min_size=1, max_size=5))
def test_drop_finds_the_best_of_all_matchings(spans: list[str], reference: list[str]) -> None:
    few, many = sorted((spans, reference), key=len)
    pairs = {(one, other): drop_score(one, [other])[1] for one in spans for other in reference}
    best = max(
        sum(pairs[(one, other) if few is spans else (other, one)] for one, other in zip(few, order, strict=True))
        for order in permutations(many, len(few))
    )
    # Each pair was rounded to two places.
    assert drop_score(spans, [reference])[1] == pytest.approx(best / len(many), abs=0.011)


def test_drop_scores_a_list_without_end_in_no_time() -> None:
    assert drop_score(["Ana"] * 3000, [["Ana", "Ben"]]) == (0.0, 0.0)
    many = [f"span{number}" for number in range(60)]
    assert drop_score(many[::-1], [many]) == (1.0, 1.0)
