"""Ratios and their intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measure.intervals import difference, ratio

shares = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.just(1.0)), min_size=2, max_size=30)


def test_a_share_comes_with_an_interval_that_holds_it_and_narrows_with_the_questions() -> None:
    few, many = ([(float(n % 2), 1.0) for n in range(count)] for count in (20, 200))
    one, other = ratio(few), ratio(many)
    assert one is not None
    assert other is not None
    assert (one.value, one.n, other.n) == (0.5, 20, 200)
    assert one.low < other.low < 0.5 < other.high < one.high
    assert other.high - other.low == pytest.approx(2 * 1.96 * (0.25 / 200) ** 0.5, rel=0.15)


def test_questions_without_bearing_do_not_count() -> None:
    found = ratio([(1.0, 2.0), (0.0, 0.0), (3.0, 2.0)])
    assert found is not None
    assert (found.value, found.n) == (1.0, 2)
    assert ratio([(0.0, 0.0)]) is None
    assert ratio([]) is None


def test_a_difference_is_paired() -> None:
    ours = [(float(n % 2), 1.0) for n in range(100)]
    always_better = [(above - 0.5, below) for above, below in ours]
    found = difference(ours, always_better)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_difference_with_what_is_undefined_is_undefined() -> None:
    assert difference([(1.0, 1.0)], [(0.0, 0.0)]) is None
    with pytest.raises(ValueError, match="needs the same questions; got 1 and 2"):
        difference([(1.0, 1.0)], [(0.0, 1.0), (1.0, 1.0)])


@given(shares)
def test_the_interval_holds_the_estimate_and_is_the_same_every_time(found: list[tuple[float, float]]) -> None:
    once = ratio(found)
    assert once is not None
    assert once.low <= once.value <= once.high
    assert ratio(found) == once
