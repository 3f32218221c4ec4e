"""The pieces in which a prompt is read, for the llama-cpp-python engine.

The last bits of a token's state depend on how many tokens are read together with it, and a greedy reply may hang on
them. So a prompt is always cut at the same places: every 32 tokens at first, so that short prompts share what they
begin with, then every 256, which is fastest. What was read before is used up to one of these places, never beyond.
"""

from collections.abc import Iterator, Sequence

LARGEST = 256
_FINE, _COARSE = 32, LARGEST


def cut(start: int) -> int:
    """Return where the piece of a prompt ends that begins at `start`, itself one of the places."""
    return start + (_FINE if start < _COARSE else _COARSE)


def pieces(start: int, length: int) -> Iterator[range]:
    """Yield the places of each piece of a prompt, from one of the cuts on."""
    while start < length:
        end = min(cut(start), length)
        yield range(start, end)
        start = end


def last_cut(length: int) -> int:
    """Return the last place at which a prompt is cut, up to `length` tokens."""
    return length - length % (_FINE if length < _COARSE else _COARSE)


def shared(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens that were read before in whole pieces a prompt can use; its last one is always read."""
    shorter = min(len(known), len(prompt) - 1)
    return last_cut(next((place for place in range(shorter) if known[place] != prompt[place]), shorter))
