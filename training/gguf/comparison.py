"""The trained model in Hugging Face, at 32 bits, beside each exported file in llama.cpp, on held-out prompts.

Compared are the token ids of prompts, the distribution of the next token at each place of a reference reply, the greedy
reply, and how often that can be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from langchain_divconq.llamacpp.engines.base import EngineSettings
from langchain_divconq.llamacpp.engines.llama_cpp import LlamaCppEngine
from langchain_divconq.llamacpp.messages import chat_roles
from training.config import Role
from training.gguf.parity import Artifact, Parity
from training.student.adapter import Array
from training.student.model import completion_ids, greedy, prompt_ids
from training.student.targets import Target, parse_rate

PLACES = 64
"""Most places of a reference reply at which the next token is compared."""

LEAD = 0.1
"""By so much, in nats, a token is clearly the likeliest: which of two equals comes first says nothing."""

_BATCH = 32  # tokens of a prompt that the engine reads at once

LONGEST_PLAN, LONGEST_ANSWER = 128, 256
"""Most tokens of a greedy reply, for decomposers and solvers."""


@dataclass(frozen=True)
class _Case:
    """A held-out prompt with its reference reply, as token ids, and what the trained model makes of it."""

    target: Target
    prompt: list[int]
    reference: list[int]
    distributions: Array
    reply: list[int]


def compare(
    student: Any, tokenizer: Any, targets: Sequence[Target], base: Path, files: Mapping[str, Path], role: Role
) -> Parity:
    """Return how far the exported files are from the trained model.

    The student is the base at 32 bits with its adapter, as peft wraps it. Of the files "adapter" is run on the base,
    the others alone.

    Raises:
        ValueError: There are no targets.
    """
    if not targets:
        raise ValueError("There are no held-out prompts to compare. Raise load.validation and run again.")
    student.eval()
    longest = LONGEST_ANSWER if role.startswith("S_E") else LONGEST_PLAN
    tokens = [prompt_ids(one.prompt, tokenizer) for one in targets]
    settings = EngineSettings(base, n_ctx=max(map(len, tokens)) + max(longest, PLACES) + 1, n_slots=1)
    other_tokens: dict[str, list[str]] = {}
    artifacts = []
    with closing(ScoringEngine(settings)) as engine:
        # The untrained student's own replies bear on nothing.
        with student.disable_adapter():
            cases = list(_cases(student, tokenizer, targets, longest=0, ends=engine.ends))
        other_tokens["base"] = _other_tokens(engine, cases)
        artifacts.append(_distance("base", engine, cases))
        cases = list(_cases(student, tokenizer, targets, longest, engine.ends))
    for name, path in files.items():
        own = replace(settings, adapter_path=path) if name == "adapter" else replace(settings, model_path=path)
        with closing(ScoringEngine(own)) as engine:
            other_tokens[name] = _other_tokens(engine, cases)
            replies = [engine.greedy(case.prompt, longest) for case in cases]
            same = sum(reply == case.reply for reply, case in zip(replies, cases, strict=True)) / len(cases)
            distance = _distance(name, engine, cases)
        artifacts.append(replace(distance, same_reply=same, parse_rate=parse_rate(replies, tokenizer, role)))
    return Parity(
        prompts=len(cases),
        places=sum(len(case.reference) for case in cases),
        parse_rate=parse_rate([case.reply for case in cases], tokenizer, role),
        other_tokens=other_tokens,
        artifacts=tuple(artifacts),
    )


def _cases(
    student: Any, tokenizer: Any, targets: Iterable[Target], longest: int, ends: frozenset[int]
) -> Iterable[_Case]:
    for one in targets:
        prompt = prompt_ids(one.prompt, tokenizer)
        reference = completion_ids(one.completion, tokenizer)[:PLACES]
        distributions = log_probabilities(student, prompt, reference)
        yield _Case(one, prompt, reference, distributions, greedy(student, prompt, longest, ends) if longest else [])


def _other_tokens(engine: "ScoringEngine", cases: Sequence[_Case]) -> list[str]:
    """Return the examples whose prompt the library renders and reads as other tokens than training did."""
    return [
        case.target.id
        for case in cases
        if engine.tokenize(engine.render(chat_roles(case.target.prompt))) != case.prompt
    ]


def _distance(name: str, engine: "ScoringEngine", cases: Sequence[_Case]) -> Artifact:
    divergences, same = [], []
    for case in cases:
        trained = case.distributions.astype(np.float64)
        found = engine.log_probabilities(case.prompt, case.reference)
        divergences.append((np.exp(trained) * (trained - found)).sum(axis=-1))
        second, likeliest = np.sort(trained, axis=-1)[:, -2:].T
        agree = trained.argmax(axis=-1) == found.argmax(axis=-1)
        same.append(agree[likeliest - second >= LEAD])
    everywhere, clear = np.concatenate(divergences), np.concatenate(same)
    return Artifact(
        name=name,
        kl=round(float(everywhere.mean()), 6),
        kl_first=round(float(np.mean([one[0] for one in divergences])), 6),
        kl_worst=round(float(everywhere.max()), 6),
        same_token=round(float(clear.mean()), 4) if clear.size else 1.0,
    )


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
        return np.stack(rows)

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


def _normalised(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max()
    normalised: Array = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
    return normalised
