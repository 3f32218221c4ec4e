"""Log-probabilities of the next token, place by place: from Hugging Face, and from llama.cpp as the library runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_divconq.llamacpp.engines.base import EngineSettings
from langchain_divconq.llamacpp.engines.llama_cpp import LlamaCppEngine

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

_BATCH = 32  # the engine's own


class ScoringEngine(LlamaCppEngine):
    """The library's engine over llama-cpp-python, which also tells the distribution at every token of a given reply."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        is_end = self._lib.llama_vocab_is_eog
        self.ends = frozenset(token for token in range(self._n_vocab) if is_end(self._vocab, token))
        """The tokens at which llama.cpp takes a reply to be over."""

    def log_probabilities(self, prompt: Sequence[int], reply: Sequence[int]) -> Array:
        """Return the log-probabilities in the place of each token of the reply, given those before it."""
        slot = self._begin(prompt)
        rows = [_normalised(self._logits())]
        for token in reply[:-1]:
            self._decode(slot, [token])
            rows.append(_normalised(self._logits()))
        stacked: Array = self._np.stack(rows)
        return stacked

    def greedy(self, prompt: Sequence[int], max_tokens: int) -> list[int]:
        """Return the likeliest reply, token by token, without the token that ends it."""
        slot = self._begin(prompt)
        reply: list[int] = []
        while len(reply) < max_tokens and (token := int(self._logits().argmax())) not in self.ends:
            reply.append(token)
            self._decode(slot, [token])
        return reply

    def _begin(self, prompt: Sequence[int]) -> Any:
        slot = self._slots[0]
        self._trim(slot, 0)
        for start in range(0, len(prompt), _BATCH):
            self._decode(slot, list(prompt[start : start + _BATCH]))
        return slot


def log_probabilities(model: Any, prompt: Sequence[int], reply: Sequence[int]) -> Array:
    """Return the same of a Hugging Face model."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *reply[:-1]]])).logits[0, len(prompt) - 1 :]
        array: Array = torch.log_softmax(logits.float(), dim=-1).numpy()
    return array


def greedy(model: Any, prompt: Sequence[int], max_tokens: int, ends: frozenset[int]) -> list[int]:
    """Return a Hugging Face model's likeliest reply, without the token that ends it."""
    import torch

    ids = torch.tensor([list(prompt)])
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
        )
    reply: list[int] = written[0, len(prompt) :].tolist()
    return reply[:-1] if reply[-1:] and reply[-1] in ends else reply


def _normalised(logits: Array) -> Array:
    import numpy as np

    shifted = logits.astype(np.float64) - logits.max()
    normalised: Array = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
    return normalised
