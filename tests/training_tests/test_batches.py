from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.student.batches import IGNORED, Sequenced, batched, collate, completion_tokens

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")


@st.composite
def sequences(draw: st.DrawFn) -> list[Sequenced]:
    lengths = draw(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), max_size=60))
    return [
        Sequenced(str(number), tuple(range(1, prompt + completion + 1)), prompt)
        for number, (prompt, completion) in enumerate(lengths)
    ]


@given(sequences(), st.integers(1, 200), st.none() | st.integers(0, 9), st.integers(0, 3))
def test_each_sequence_is_in_one_batch_and_no_batch_is_too_large(
    given: list[Sequenced], most: int, seed: int | None, epoch: int
) -> None:
    batches = batched(given, most, seed=seed, epoch=epoch)
    assert Counter(one.id for batch in batches for one in batch) == Counter(one.id for one in given)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(one.ids) for one in batch) <= most
    assert batches == batched(given, most, seed=seed, epoch=epoch)


def test_each_epoch_has_its_own_order_and_batches_hold_sequences_of_like_length() -> None:
    given = [Sequenced(str(n), tuple(range(n % 50 + 2)), 1) for n in range(500)]
    first, second = (batched(given, 400, seed=1, epoch=epoch) for epoch in (0, 1))
    assert first != second
    padded = sum(len(batch) * max(len(one.ids) for one in batch) for batch in first)
    assert sum(len(one.ids) for one in given) / padded > 0.9


@given(sequences().filter(bool))
def test_labels_are_the_completions_and_nothing_else(batch: list[Sequenced]) -> None:
    ids, labels = collate(batch, padding=0)
    assert ids.shape == labels.shape == (len(batch), max(len(one.ids) for one in batch))
    for row, one in enumerate(batch):
        assert tuple(ids[row, : len(one.ids)].tolist()) == one.ids
        assert set(ids[row, len(one.ids) :].tolist()) <= {0}
        assert tuple(labels[row][labels[row] != IGNORED].tolist()) == one.ids[one.prompt :]
    assert int((labels != IGNORED).sum()) == completion_tokens(batch)
