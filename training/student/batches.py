"""Token ids in batches of like length. Pure functions of their arguments: a resumed run meets the same batches."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The label of a token that no loss is taken on."""

# Batches are cut from stretches of this many shuffled sequences, each sorted by length: long enough for little padding,
# short enough that a batch does not always meet the same companions.
_STRETCH = 512


@dataclass(frozen=True)
class Sequenced:
    """A prompt with its completion, as token ids."""

    id: str
    """The example's."""
    ids: tuple[int, ...]
    """Prompt, then completion."""
    prompt: int
    """How many of them are the prompt."""


def batched(
    sequences: Sequence[Sequenced], batch_tokens: int, *, seed: int | None, epoch: int = 0
) -> list[list[Sequenced]]:
    """Return the batches of one epoch; each holds at most `batch_tokens` tokens, padding included.

    Args:
        sequences: What to divide; each is in one batch.
        batch_tokens: A longer sequence makes a batch of its own.
        seed: Shuffles sequences and batches; None: sorted by length, for evaluation.
        epoch: Each has its own order.
    """
    order = list(sequences)
    shuffle = random.Random(f"{seed}/{epoch}")
    if seed is not None:
        shuffle.shuffle(order)
    size = _STRETCH if seed is not None else max(len(order), 1)
    batches: list[list[Sequenced]] = []
    for start in range(0, len(order), size):
        batch: list[Sequenced] = []
        for sequence in sorted(order[start : start + size], key=lambda one: len(one.ids)):
            if batch and len(sequence.ids) * (len(batch) + 1) > batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(sequence)
        batches.append(batch)
    if seed is not None:
        shuffle.shuffle(batches)
    return batches


def completion_tokens(batch: Sequence[Sequenced]) -> int:
    """Return how many tokens of a batch a loss is taken on."""
    return sum(len(sequence.ids) - sequence.prompt for sequence in batch)


def collate(batch: Sequence[Sequenced], padding: int) -> "tuple[Tensor, Tensor]":
    """Return token ids and labels, both (sequences, longest), int64.

    Padding stands on the right, where under causal attention no token sees it: no attention mask is needed. Labels are
    the ids themselves, `IGNORED` in prompt and padding.
    """
    import torch

    longest = max(len(sequence.ids) for sequence in batch)
    ids = torch.full((len(batch), longest), padding, dtype=torch.int64)
    labels = torch.full((len(batch), longest), IGNORED, dtype=torch.int64)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        labels[row, sequence.prompt : len(sequence.ids)] = torch.tensor(sequence.ids[sequence.prompt :])
    return ids, labels
