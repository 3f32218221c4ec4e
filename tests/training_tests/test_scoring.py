from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from training.scoring import drop_score, find_numbers, normalise, parse_number, parse_quantity, same_answer

any_text = st.text(max_size=40) | st.text(alphabet="0123456789.,/-+=$% abcthe½²\u2013\n", max_size=25)


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        *(("1,200", "1200"), ("$1200.00", "1200"), ("$ 1,200", "1200"), ("1200.", "1200"), ("0.5", ".5")),
        *(("1/2", "0.5"), ("½", "0.5"), ("007", "7"), ("-5", "\u22125"), ("-$5", "$-5"), ("72%", "72")),
        *(("72 percent", "72"), ("36 pens", "36"), ("36pens", "36"), ("36", "36 pens"), ("36 km/h", "36")),
        *(("10 °C", "10"), ("$2 million", "2000000"), ("2.5 thousand people", "2,500"), ("three", "3")),
        *(("Twelve", "12"), ("$148 and $1,296", "148, 1296"), ("3 ft, 4 ft, and 5 ft", "3, 4, 5")),
    ],
)
def test_numbers_are_compared_as_numbers(prediction: str, gold: str) -> None:
    assert same_answer(prediction, gold)


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        *(("36", "35"), ("0.72", "72%"), ("3.33", "10/3"), ("36 pens", "36 boxes"), ("6,300 km", "6,300 m")),
        *(("8\u00b2", "82"), ("2nd", "2"), ("1990s", "1990"), ("3 and a half", "3"), ("2 hundred", "2")),
        *(("12 Angry Men", "12"), ("6 PM", "6"), ("6:30", "6"), ("3-4", "3"), ("3-4", "34"), ("3,5", "35")),
        *(("1.2.3", "123"), ("5/0", "5"), ("36 or 37", "36"), ("5 June", "5"), ("3 and 4", "4, 3"), ("3 and 4", "3")),
        *(("3", "3 and 4"), ("3, 4 and 5", "3, 4")),
    ],
)
def test_what_says_another_number_or_more_than_one_is_wrong(prediction: str, gold: str) -> None:
    assert not same_answer(prediction, gold)


@pytest.mark.parametrize(
    ("prediction", "gold", "same"),
    [
        *(("Yes", "yes", True), ("True", "yes", True), ("no", "False", True)),
        ("No, a whale is heavier", "no", True),
        *(("Yes. It could.", "true", True), ("yes", "no", False), ("No one", "no", False), ("Not really", "no", False)),
        *(("Yesterday", "yes", False), ("It is yes", "yes", False), ("True North", "true north", True)),
    ],
)
def test_yes_and_no_are_told_from_other_words(prediction: str, gold: str, same: bool) -> None:
    assert same_answer(prediction, gold) is same


@pytest.mark.parametrize(
    ("prediction", "gold", "same"),
    [
        *(("The Old Mill", "old mill", True), ("  the old\tmill. ", "Old Mill", True)),
        ("J.K. Almond", "JK Almond", True),
        ("Ashton-under-Hill", "Ashton\u2013under\u2013Hill", True),
        *(("Ashton-under-Hill", "Ashton under Hill", True), ("O\u2019Hara", "O'Hara", True), ("A", "a", True)),
        *(("Toghon Temur", "Toghon Tem\u00fcr", True), ("1045 BCE", "1045 BC", True), ("\u0439", "\u0438", False)),
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
        *(("72", 72), ("$1,234.50", Fraction("1234.5")), ("-5", -5), ("-$5", -5), ("$-5", -5), ("72%", 72)),
        *((".5", Fraction(1, 2)), ("3/4", Fraction(3, 4)), ("seven", 7), ("72 pens", 72)),
        ("She has 72 pens left over.", 72),
        ("Ana pays $72 in all (72 dollars)", 72),
        *(("6 * 12 = 72", 72), ("6 * 12 = 70 + 2 = $72 a week", 72), ("x = -3", -3), ("2 million", 2_000_000)),
        *(("It costs $2.5 thousand", 2500), ("2 hundred", 200), ("On the 3rd day Ana has 72", 72)),
        *(("In the 1990s there were 40", 40), ("3 dozen", 3), ("5 m\u00b2", 5), ("1{,}200", 1200), ("$5/h", 5)),
        *(("L - 8", None), ("x + 8", None), ("n/8", None), ("8 - x", None), ("1e3", None), ("8\u00b2", None)),
        *(("3\u00bd", None), ("1,2345", None), ("36 or 37", None), ("5,10,15", None), ("5 + 5", None)),
        *(("72 = 6 * 12", None), ("6x12", None), ("5-5", None), ("7\u20139", None), ("7:07", None)),
        *(("3 and a half", None), ("2 hours and 30 minutes", None), ("the 3rd", None), ("x2", None), ("none", None)),
        *(("", None), ("6 * 12 =", None)),
    ],
)
def test_an_answer_names_one_number_or_none(text: str, number: Fraction | int | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("12 and 1,200.50, then -3.", [12, Fraction("1200.5"), -3]),
        *(("10-5 is 5", [10, 5, 5]), ("x2, H2O, 2nd, 1990s, v1.2", []), ("1.2.3", []), ("36pens", [36]), ("(4)", [4])),
        ("no figures", []),
    ],
)
def test_numbers_are_found_as_whole_tokens(text: str, numbers: list[Fraction]) -> None:
    assert find_numbers(text) == numbers


@given(st.integers())
def test_a_whole_number_is_read_however_it_is_dressed(number: int) -> None:
    for dressed in (f"{number}", f"{number:,}", f"{number}.00", f"{number} pens", f"It is {number}.", f"9 = {number}"):
        assert parse_number(dressed) == number
