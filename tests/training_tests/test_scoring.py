import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.scoring import drop_score, normalise, parse_quantity, same_answer


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


@given(st.text(alphabet="0123456789.,/-+$% abc½²", max_size=12))
def test_whatever_the_text_a_quantity_is_read_or_there_is_none(text: str) -> None:
    parse_quantity(text)


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


def test_drop_gives_no_answer_nothing() -> None:
    assert drop_score(None, ["Ana"]) == (0.0, 0.0)
    assert drop_score("", ["Ana"]) == (0.0, 0.0)


@given(st.lists(st.text("ab ", min_size=1, max_size=5), min_size=1, max_size=5))
def test_drop_gives_a_reference_itself_full_marks(spans: list[str]) -> None:
    assert drop_score(spans, [spans]) == (1.0, 1.0)
