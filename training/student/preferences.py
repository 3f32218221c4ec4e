"""A student's own plans, and learning to prefer better ones to them: fine-tuning on the better, or DPO on both."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_divconq.plans import clean_plan, render_plan
from training.config import Config, Prefer
from training.data.plans import is_well_formed, read_plan
from training.example import Example
from training.student.batches import IGNORED, Sequenced, collate
from training.student.model import completion_ids, end_of_turn, padding_id, prompt_ids
from training.student.targets import target

if TYPE_CHECKING:
    from torch import Tensor

Plan: TypeAlias = tuple[str, ...]

_MOST_TOKENS = 128
_ENOUGH = 0.95
"""Drawing ends once this share of a batch's replies has ended: a few that never end would take most of the time."""
_STEP = 8
"""Preferences to a step of the optimiser."""
_TOKENS = 1536
"""Most tokens, padding included, of the sequences that go through the student together."""


@dataclass(frozen=True)
class Preference:
    """What a question teaches: the better plan, and the worse one where there is any."""

    example: Example
    better: Plan
    worse: Plan | None


@dataclass(frozen=True)
class _Pair:
    """A preference as token ids; what the student thought of both before it learned, for DPO."""

    better: Sequenced
    worse: Sequenced | None
    known: "Tensor | None" = None

    @property
    def sequences(self) -> list[Sequenced]:
        return [self.better] if self.worse is None else [self.better, self.worse]

    @property
    def tokens(self) -> int:
        return 2 * max(len(one.ids) for one in self.sequences)


def write_plans(
    examples: Sequence[Example], draws: int, student: Any, tokenizer: Any, config: Config
) -> list[tuple[Plan, ...]]:
    """Return for each question the greedy plan and as many drawn ones as asked for; what is no plan becomes none."""
    import torch
    from transformers import StoppingCriteriaList

    cap = config.demonstrate.max_subquestions
    prompts = [_prompt(one, tokenizer, config) for one in examples]
    padding, end = padding_id(tokenizer), end_of_turn(tokenizer)
    longest = max(map(len, prompts))
    ids = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    student.eval()

    def is_enough(written: "Tensor", scores: object, **_: object) -> "Tensor":
        ended = (written[:, longest:] == end).any(dim=1)
        return (ended.float().mean() >= _ENOUGH).expand(len(written))

    common = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": _MOST_TOKENS, "pad_token_id": padding}
    common["stopping_criteria"] = StoppingCriteriaList([is_enough])
    with torch.no_grad():
        written = [*student.generate(**common, do_sample=False)[:, longest:]]
        if draws:
            sampling = {"do_sample": True, "top_k": 0, "num_return_sequences": draws}
            assert config.prefer is not None
            sampled = student.generate(**common, **sampling, temperature=config.prefer.temperature)
            written += [*sampled[:, longest:]]
    student.train()
    # What was cut off is no plan: without its last subquestion it would pass as a shorter one.
    whole = [ids if end in ids else ids[:0] for ids in written]
    texts = tokenizer.batch_decode(whole, skip_special_tokens=True)
    count = len(examples)
    return [
        tuple(as_plan(text, one, cap) for text in (texts[at], *texts[count + at * draws : count + (at + 1) * draws]))
        for at, one in enumerate(examples)
    ]


def as_plan(text: str, example: Example, cap: int) -> Plan:
    """Return a reply as the library would take it; `()` where it is no plan, or none that the grammar allows."""
    plan = tuple(clean_plan(read_plan(text) or (), example.asked, cap))
    return plan if is_well_formed(plan) else ()


def learn(student: Any, tokenizer: Any, preferences: Sequence[Preference], config: Config) -> list[float]:
    """Train on the preferences, one step to a few questions; return the loss of each step."""
    import torch

    options = config.prefer
    assert options is not None
    pairs = [_pair(one, tokenizer, config) for one in preferences]
    if options.method == "dpo":
        pairs = _remember(student, pairs)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=options.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    shuffle, losses = random.Random(config.seed), []
    order = [at for _ in range(options.epochs) for at in shuffle.sample(range(len(pairs)), len(pairs))]
    for start in range(0, len(order), _STEP):
        chosen, total = [pairs[at] for at in order[start : start + _STEP]], 0.0
        for batch in _together(chosen):
            loss = _loss(student, batch, options).sum() / len(chosen)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for parameters in optimiser.param_groups:
            parameters["lr"] = options.learning_rate * (1 - start / len(order))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(round(total, 4))
        print(f"prefer: step {len(losses)} of {-(-len(order) // _STEP)}, loss {losses[-1]}", flush=True)
    return losses


def log_probabilities(student: Any, sequences: Sequence[Sequenced], *, grad: bool) -> "Tensor":
    """Return the log-probability of each sequence's completion, (sequences,)."""
    import torch

    ids, labels = collate(sequences, padding=0)
    causal = student.base_model.model
    with torch.set_grad_enabled(grad):
        hidden = causal.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        following = labels[:, 1:]
        wanted = following != IGNORED
        logs = torch.log_softmax(causal.lm_head(hidden[wanted]).float(), dim=-1)
        each = logs.gather(1, following[wanted].unsqueeze(1)).squeeze(1)
        return torch.stack([part.sum() for part in torch.split(each, wanted.sum(1).tolist())])


def _prompt(example: Example, tokenizer: Any, config: Config) -> list[int]:
    """Return the ids that ask for a question's plan; the cap they tell is that of the plan it is known to have."""
    recorded = example.recorded.subquestions if example.recorded else ()
    known = example.subquestions if example.subquestions is not None else recorded
    told = example.model_copy(update={"subquestions": known})
    return prompt_ids(target(told, config.finetune.role, config.demonstrate.max_subquestions).prompt, tokenizer)


def _pair(preference: Preference, tokenizer: Any, config: Config) -> _Pair:
    prompt = _prompt(preference.example, tokenizer, config)

    def sequence(plan: Plan) -> Sequenced:
        completion = completion_ids(render_plan(plan), tokenizer)
        return Sequenced(preference.example.id, (*prompt, *completion), len(prompt))

    return _Pair(sequence(preference.better), None if preference.worse is None else sequence(preference.worse))


def _together(pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """Yield the pairs in batches of like length, each of so many tokens that they fit in memory and caches."""
    batch: list[_Pair] = []
    for pair in sorted(pairs, key=lambda one: one.tokens):
        if batch and pair.tokens * (len(batch) + 1) > _TOKENS:
            yield batch
            batch = []
        batch.append(pair)
    yield batch


def _remember(student: Any, pairs: Sequence[_Pair]) -> list[_Pair]:
    """Return the pairs with the log-probabilities of the student as it is."""
    import torch

    known: list[_Pair] = []
    for batch in _together(pairs):
        logs = log_probabilities(student, [one for pair in batch for one in pair.sequences], grad=False)
        parts = torch.split(logs, [len(pair.sequences) for pair in batch])
        known += [_Pair(pair.better, pair.worse, part) for pair, part in zip(batch, parts, strict=True)]
        print(f"prefer: remembered {len(known)} of {len(pairs)}", flush=True)
    return known


def _loss(student: Any, batch: Sequence[_Pair], options: Prefer) -> "Tensor":
    """Return the loss of each pair, (pairs,)."""
    import torch

    if options.method == "best":
        batch = [_Pair(pair.better, None) for pair in batch]
    logs = log_probabilities(student, [one for pair in batch for one in pair.sequences], grad=True)
    losses = []
    for pair, each in zip(batch, torch.split(logs, [len(pair.sequences) for pair in batch]), strict=True):
        supervised = -each[0] / (len(pair.better.ids) - pair.better.prompt)
        if pair.worse is None or pair.known is None:
            losses.append(supervised)
            continue
        better, worse = each - pair.known
        lead = torch.nn.functional.logsigmoid(options.beta * (better - worse))
        losses.append(options.supervised * supervised - lead)
    return torch.stack(losses)
