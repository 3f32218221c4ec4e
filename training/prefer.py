"""Stage between finetune and export: learning from what plans achieve. No language model judges.

For training questions with evidence, several plans are drawn from the student. References are filled with gold answers,
each plan is searched for, and plans rank by whether all evidence is found, then by recall, then by fewer subquestions.
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_divconq.plans import clean_plan
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.types import Decomposition
from training.config import DATA, Config, Prefer
from training.data.leaks import find_leaks
from training.data.load import never_taught
from training.data.plans import is_well_formed, read_plan
from training.example import load_examples
from training.measure.corpus import MultiHop, passages, training_questions
from training.measure.intervals import ratio
from training.measure.readers import Reader
from training.measure.search import bm25
from training.store import Frozen, Records, save_json
from training.student.batches import IGNORED, Sequenced, collate
from training.student.finetune import encode, quicken
from training.student.model import end_of_turn, load_student, padding_id, prompt_ids
from training.student.targets import target

if TYPE_CHECKING:
    from torch import Tensor

Plan: TypeAlias = tuple[str, ...]

_AT_ONCE = 12
"""Questions for which plans are drawn in one batch."""
_MOST_TOKENS = 128
_ENOUGH = 0.95
"""Drawing ends once this share of a batch's replies has ended: a few that never end would take most of the time."""


class Drawn(Frozen):
    """The plans drawn for one question, the greedy one first, with what each finds; the whole question's is `()`."""

    id: str
    plans: tuple[Plan, ...]
    recall: tuple[float, ...]
    """The share of the gold passages that each plan finds."""
    whole: float
    """The same for the question searched for as it is."""

    def rank(self, plan: Plan, recall: float) -> tuple[bool, float, int]:
        """Return what plans are compared by: the greater, the better."""
        return recall == 1, recall, -len(plan)

    @property
    def ranked(self) -> list[tuple[tuple[bool, float, int], Plan]]:
        """The different plans, the best first."""
        once = dict(zip(self.plans, self.recall, strict=True))
        return sorted(
            ((self.rank(plan, recall), plan) for plan, recall in once.items()), key=lambda p: p[0], reverse=True
        )


@dataclass(frozen=True)
class Preference:
    """What a question teaches: the better plan, and the worse one where there is any."""

    question: MultiHop
    better: Plan
    worse: Plan | None


def prefer(config: Config) -> None:
    """Draw plans, rank them, and leave a student that learned the better ones in 4-preferred/.

    Raises:
        ValueError: The config has no section [prefer], a file of data is missing, or there is nothing to learn from.
    """
    import torch

    options = config.prefer
    if options is None:
        raise ValueError("The config has no section [prefer]; add one, or leave the stage out.")
    if config.finetune.threads:
        torch.set_num_threads(config.finetune.threads)
    torch.manual_seed(config.seed)
    folder = config.folder / "4-preferred.partial"
    folder.mkdir(parents=True, exist_ok=True)
    student, tokenizer = _load(config)
    questions = choose(config, options)
    drawn = draw(questions, student, tokenizer, folder / "draws.jsonl", config)
    summary = summarise(drawn)
    print("\n".join(f"{name}: {value}" for name, value in summary.items()), flush=True)
    preferences = list(preferred(questions, drawn, options))
    if not preferences:
        raise ValueError(f"None of {len(questions)} questions has a plan that is better than another.")
    started = time.perf_counter()
    losses = learn(student, tokenizer, preferences, config)
    training = {**summary, "preferences": len(preferences), "losses": losses, **options.model_dump(mode="json")}
    _finish(config, student, folder, {**training, "seconds": round(time.perf_counter() - started, 1)})


def choose(config: Config, options: Prefer) -> list[MultiHop]:
    """Return the questions to draw plans for, by the seed: none held out, none that gives evaluation away."""
    held_out = {example.question for example in load_examples(config.folder / "3-validation.jsonl")}
    found = [one for one in training_questions(DATA) if one.example.question not in held_out]
    leaks = find_leaks([one.example for one in found], never_taught(config), config.load.ngram)
    usable = [one for one in found if one.example.id not in leaks]
    return random.Random(config.seed).sample(usable, min(len(usable), options.questions))


def draw(questions: Sequence[MultiHop], student: Any, tokenizer: Any, path: Path, config: Config) -> list[Drawn]:
    """Return the plans of each question with what they find; those that were drawn before are read from the file."""
    assert config.prefer is not None
    records = Records(path, Drawn)
    left = [question for question in questions if question.id not in records.records]
    retriever = bm25(passages(DATA), config.prefer.budget)
    for start in range(0, len(left), _AT_ONCE):
        group = left[start : start + _AT_ONCE]
        for question, plans in zip(group, write_plans(group, student, tokenizer, config), strict=True):
            found = tuple(recall(question, plan, retriever, config.prefer.budget) for plan in plans)
            whole = recall(question, (), retriever, config.prefer.budget)
            records.add(Drawn(id=question.id, plans=plans, recall=found, whole=whole))
        print(f"prefer: plans for {len(records.records)} of {len(questions)} questions", flush=True)
    return [records.records[question.id] for question in questions]


def write_plans(questions: Sequence[MultiHop], student: Any, tokenizer: Any, config: Config) -> list[tuple[Plan, ...]]:
    """Return for each question the greedy plan and as many as are drawn; what is no plan becomes none."""
    import torch
    from transformers import StoppingCriteriaList

    assert config.prefer is not None
    cap = config.demonstrate.max_subquestions
    prompts = [prompt_ids(target(_told(one), config.finetune.role, cap).prompt, tokenizer) for one in questions]
    padding = padding_id(tokenizer)
    longest = max(map(len, prompts))
    ids = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    student.eval()

    def is_enough(written: "Tensor", scores: object, **_: object) -> "Tensor":
        ended = (written[:, longest:] == end_of_turn(tokenizer)).any(dim=1)
        return (ended.float().mean() >= _ENOUGH).expand(len(written))

    common = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": _MOST_TOKENS, "pad_token_id": padding}
    common["stopping_criteria"] = StoppingCriteriaList([is_enough])
    with torch.no_grad():
        greedy = student.generate(**common, do_sample=False)
        sampled = student.generate(
            **common,
            do_sample=True,
            temperature=config.prefer.temperature,
            top_k=0,
            num_return_sequences=config.prefer.draws,
        )
    student.train()
    written = [*greedy[:, longest:], *sampled[:, longest:]]
    # What was cut off is no plan: without its last subquestion it would pass as a shorter one.
    whole = [ids if end_of_turn(tokenizer) in ids else ids[:0] for ids in written]
    texts = tokenizer.batch_decode(whole, skip_special_tokens=True)
    count, draws = len(questions), config.prefer.draws
    return [
        tuple(
            as_plan(text, question, cap) for text in (texts[at], *texts[count + at * draws : count + (at + 1) * draws])
        )
        for at, question in enumerate(questions)
    ]


def as_plan(text: str, question: MultiHop, cap: int) -> Plan:
    """Return a reply as the library would take it; `()` where it is no plan, or none that the grammar allows."""
    plan = tuple(clean_plan(read_plan(text) or (), question.example.asked, cap))
    return plan if is_well_formed(plan) else ()


def recall(question: MultiHop, plan: Plan, retriever: BaseRetriever, budget: int) -> float:
    """Return the share of a question's gold passages among the first that a plan finds, gold answers filled in."""
    decomposition = Decomposition(question=question.example.asked, subquestions=plan)
    searching = DecomposedRetriever(
        retriever=retriever,
        reader=Reader("oracle", question.hops),
        decomposer=RunnableLambda(lambda _: decomposition),
        k=budget,
    )
    found = {document.id for document in searching.invoke(question.example.question, {"max_concurrency": 1})}
    wanted = {hop.passage for hop in question.hops}
    return len(wanted & found) / len(wanted)


def summarise(drawn: Sequence[Drawn]) -> dict[str, str]:
    """Return how many questions find all their evidence: whole, by the greedy plan, by the best of all drawn."""
    ways: dict[str, Callable[[Drawn], float]] = {
        "the whole question": lambda one: one.whole,
        "the greedy plan": lambda one: one.recall[0],
        f"the best of {max(len(one.plans) for one in drawn)}": lambda one: max(one.recall),
    }
    return {
        name: f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] of {len(drawn)} find all evidence"
        for name, way in ways.items()
        if (found := ratio([(float(way(one) == 1), 1.0) for one in drawn]))
    }


def preferred(questions: Sequence[MultiHop], drawn: Sequence[Drawn], options: Prefer) -> Iterator[Preference]:
    """Yield what each question teaches: its best plan, and one that is worse; nothing where all are alike.

    A question that finds as much when searched for as it is, is its own best plan, if the options say so.
    """
    for question, one in zip(questions, drawn, strict=True):
        ranked = one.ranked
        (best, better), (worst, worse) = ranked[0], ranked[-1]
        if options.whole and one.whole >= max(one.recall) and one.whole == 1:
            yield Preference(question, (), better if better else None)
        elif best > worst and better:
            yield Preference(question, better, worse)


def learn(student: Any, tokenizer: Any, preferences: Sequence[Preference], config: Config) -> list[float]:
    """Train on the preferences, one step to a few questions; return the loss of each step."""
    import torch

    options = config.prefer
    assert options is not None
    cap, role = config.demonstrate.max_subquestions, config.finetune.role
    pairs = [
        tuple(
            encode(target(_told(one.question, plan), role, cap), tokenizer)
            for plan in (one.better, one.worse)
            if plan is not None
        )
        for one in preferences
    ]
    known: list[Tensor | None] = [
        _log_probabilities(student, pair, grad=False) if options.method == "dpo" else None for pair in pairs
    ]
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=options.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    shuffle, losses, group = random.Random(config.seed), [], 8
    order = [at for _ in range(options.epochs) for at in shuffle.sample(range(len(pairs)), len(pairs))]
    for start in range(0, len(order), group):
        chosen = order[start : start + group]
        loss = torch.stack([_loss(student, pairs[at], known[at], options) for at in chosen]).mean()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for parameters in optimiser.param_groups:
            parameters["lr"] = options.learning_rate * (1 - start / len(order))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(round(float(loss.detach()), 4))
        print(f"prefer: step {len(losses)} of {-(-len(order) // group)}, loss {losses[-1]}", flush=True)
    return losses


def _loss(student: Any, pair: Sequence[Sequenced], known: "Tensor | None", options: Prefer) -> "Tensor":
    import torch

    if options.method == "best" or len(pair) < 2 or known is None:
        better = pair[0]
        return -_log_probabilities(student, pair[:1], grad=True)[0] / (len(better.ids) - better.prompt)
    better, worse = _log_probabilities(student, pair, grad=True) - known
    length = len(pair[0].ids) - pair[0].prompt
    supervised = -(better + known[0]) / length
    loss: Tensor = options.supervised * supervised - torch.nn.functional.logsigmoid(options.beta * (better - worse))
    return loss


def _log_probabilities(student: Any, sequences: Sequence[Sequenced], *, grad: bool) -> "Tensor":
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


def _told(question: MultiHop, plan: Plan | None = None) -> Any:
    """Return the question's example with a plan to write; None: the recorded one."""
    return question.example.model_copy(update={"subquestions": question.plan if plan is None else plan})


def _load(config: Config) -> tuple[Any, Any]:
    from peft import PeftModel

    model, tokenizer = load_student(config.finetune.student, config.folder, config.finetune.dtype)
    student = PeftModel.from_pretrained(model, config.folder / "4-student", is_trainable=True)
    quicken(student)
    return student, tokenizer


def _finish(config: Config, student: Any, folder: Path, training: dict[str, Any]) -> None:
    """Save the adapter and what made it, and give the folder its final name."""
    before = json.loads((config.folder / "4-student" / "training.json").read_text(encoding="utf-8"))
    student.save_pretrained(folder, save_embedding_layers=False)
    shutil.copy(config.folder / "4-student" / "adapter_config.json", folder / "adapter_config.json")
    (folder / "README.md").unlink(missing_ok=True)
    save_json(folder / "training.json", {**before, "prefer": training})
    folder.rename(config.folder / "4-preferred")
