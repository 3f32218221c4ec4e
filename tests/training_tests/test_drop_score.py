"""DROP's exact match and F1, by its published rules."""

from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.scoring import drop_score

any_text = st.text(max_size=40) | st.text(alphabet="0123456789.,/-+=$% abcthe½²\u2013\n", max_size=25)
any_spans = st.lists(any_text, max_size=6)


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        *(("Ana Ruiz", "ana ruiz", 1, 1.0), ("the Ruiz", "Ruiz", 1, 1.0)),
        ("Ana Ruiz", "Ruiz", 0, 0.67),  # precision 1/2, recall 1
        ("Ana Maria Ruiz", "Ana Ruiz", 0, 0.8),  # 2/3 and 1
        *(("Ana-Maria", "Ana Maria", 1, 1.0), ("Weber", "Ruiz", 0, 0.0), ("5", "5", 1, 1.0), ("5.0", "5", 1, 1.0)),
        *(("1,000", "1000", 1, 1.0), ("five", "5", 0, 0.0), ("5 yards", "5", 0, 0.67)),
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
        *(("Ana Ruiz.", "Ana Ruiz", 1, 1.0), ("'Ana', Ruiz!", "Ana Ruiz", 1, 1.0), ("J.K. Ruiz", "JK Ruiz", 1, 1.0)),
        ("J. K. Ruiz", "JK Ruiz", 0, 0.4),  # j, k, ruiz against jk, ruiz: 1/3 and 1/2
        *(("O'Hara", "OHara", 1, 1.0), ("Ruiz/Weber", "RuizWeber", 1, 1.0)),
        ("Ana\u2013Maria", "Ana Maria", 0, 0.0),
        ("left-back", "back left", 0, 1.0),  # the same bag in another order
        ("Caf\u00e9 Ruiz", "Cafe Ruiz", 0, 0.5),  # accents count
        # Words are a set: said twice is said once.
        *(("Ana Ana Ruiz", "Ana Ruiz", 0, 1.0), ("Ruiz Ana", "Ana Ruiz", 0, 1.0)),
        ("Ben Ruiz of the north", "Ben Ruiz", 0, 0.67),  # 2/4 and 1
        ("Ben", "Ben Ruiz of the north", 0, 0.4),  # 1 and 1/4
        # Numbers.
        *(("05", "5", 1, 1.0), ("5.", "5", 1, 1.0), (".50", "0.5", 1, 1.0), ("1e1", "10", 1, 1.0)),
        ("-5", "5", 1, 1.0),  # the hyphen divides
        *(("$5", "5", 1, 1.0), ("5%", "5", 1, 1.0)),
        ("5.5%", "5.5", 0, 0.0),  # with its point deleted it is 55
        ("5.5%", "55", 1, 1.0),
        ("1,000.5", "1000.5", 0, 0.0),  # likewise
        *(("3-4", "3 4", 1, 1.0), ("3-4", "3", 0, 0.67), ("2nd", "2", 0, 0.0), ("12", "1 2", 0, 0.0)),
        ("5 yards", "5 metres", 0, 0.5),
        ("5 yards", "6 5", 0, 0.5),  # one of two numbers is enough
        *(("five yards", "5 yards", 0, 0.0), ("yards 5", "5 yards", 0, 1.0)),
        # Dates are text with numbers in it.
        ("3 May 1807", "3 May 1807", 1, 1.0),
        ("May 3, 1807", "3 May 1807", 0, 1.0),
        ("May 1807", "3 May 1807", 0, 0.8),  # 1 and 2/3
        *(("3 May", "3 May 1807", 0, 0.8), ("May", "3 May 1807", 0, 0.0)),
        ("3 June 1807", "3 May 1807", 0, 0.67),
        *(("4 May 1808", "3 May 1807", 0, 0.0), ("1807", "May 1807", 0, 0.67)),
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


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("5", ["4", "5"], 1, 1.0),
        ("5", ["4", "6"], 0, 0.0),
        ("Ana Ruiz", ["Weber", "Ruiz"], 0, 0.67),
        *(("Ana", [], 0, 0.0), (None, ["Ana"], 0, 0.0), ("", ["Ana"], 0, 0.0)),
        ("5 yards", ["5", "yards 5 yards"], 0, 1.0),  # the second holds the same words
        (["Ana", "Ben"], ["Ana", ["Ben", "Ana"]], 1, 1.0),
        ("Ana", [["Ana", "Ben"], "Ana Ruiz"], 0, 0.67),  # 0.5 and 0.67
        ("Ana", ["", "Ana"], 1, 1.0),
        ("", ["", "Ana"], 0, 0.0),  # a blank reference is none
        ("the", [" "], 0, 0.0),
    ],
)
def test_drop_scores_several_references_by_the_best(
    prediction: str | list[str] | None, references: list[str | list[str]], exact: float, f1: float
) -> None:
    assert drop_score(prediction, references) == (exact, f1)


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
