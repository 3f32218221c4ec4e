"""Stage between finetune and export: learning from what plans achieve. No language model judges.

For training questions with evidence, several plans are drawn from the student. References are filled with gold answers,
each plan is searched for, and plans rank by whether all evidence is found, then by recall, then by fewer subquestions.

Of training questions whose plan is known, the student writes one. Where the everyday questions' grader does not find it
good, the known plan is the better one.
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.types import Decomposition
from training.config import DATA, Config, Prefer, Source
from training.data.leaks import find_leaks
from training.data.load import never_taught
from training.data.sources import read_source
from training.example import Example, Recorded, load_examples
from training.measure.corpus import MultiHop, passages, training_questions
from training.measure.grade import asking_words, grade
from training.measure.intervals import ratio
from training.measure.readers import Reader
from training.measure.search import bm25
from training.store import Frozen, Records, save_json
from training.student.finetune import quicken
from training.student.model import load_student
from training.student.preferences import Plan, Preference, learn, write_plans

_CONTEXT = 1_200
"""Characters of the longest context in an example that a plan is written for: long ones take most of the time."""
_AT_ONCE = 12
"""Questions for which plans are drawn in one batch; of those with a known plan twice as many."""


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


class Written(Frozen):
    """The plan that the student wrote for a question whose plan is known."""

    id: str
    plan: Plan
    good: bool
    """As the everyday questions' grader has it, beside the known plan."""


def prefer(config: Config) -> None:
    """Let the student write plans, rank them, and leave one that learned the better ones in 4-preferred/.

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
    summary: dict[str, str] = {}
    preferences: list[Preference] = []
    if options.questions:
        questions = choose(config, options)
        drawn = draw(questions, student, tokenizer, folder / "draws.jsonl", config)
        summary |= summarise(drawn)
        preferences += preferred(questions, drawn, options)
    if options.examples:
        examples = choose_examples(config, options)
        written = write(examples, student, tokenizer, folder / "written.jsonl", config)
        good = sum(one.good for one in written)
        summary["its own plans for training questions"] = f"{good} of {len(written)} are good"
        preferences += corrected(examples, written)
    print("\n".join(f"{name}: {value}" for name, value in summary.items()), flush=True)
    if not preferences:
        raise ValueError("No question has a plan that is better than another; draw for more.")
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


def choose_examples(config: Config, options: Prefer) -> list[Example]:
    """Return the run's own training examples to write plans for, by the seed."""
    short = [one for one in load_examples(config.folder / "3-screened.jsonl") if len(one.context or "") <= _CONTEXT]
    return random.Random(config.seed).sample(short, min(len(short), options.examples))


def draw(questions: Sequence[MultiHop], student: Any, tokenizer: Any, path: Path, config: Config) -> list[Drawn]:
    """Return the plans of each question with what they find; those that were drawn before are read from the file."""
    assert config.prefer is not None
    records = Records(path, Drawn)
    left = [question for question in questions if question.id not in records.records]
    retriever = bm25(passages(DATA), config.prefer.budget)
    for start in range(0, len(left), _AT_ONCE):
        group = left[start : start + _AT_ONCE]
        drawn = write_plans([one.example for one in group], config.prefer.draws, student, tokenizer, config)
        for question, plans in zip(group, drawn, strict=True):
            found = tuple(recall(question, plan, retriever, config.prefer.budget) for plan in plans)
            whole = recall(question, (), retriever, config.prefer.budget)
            records.add(Drawn(id=question.id, plans=plans, recall=found, whole=whole))
        print(f"prefer: plans for {len(records.records)} of {len(questions)} questions", flush=True)
    return [records.records[question.id] for question in questions]


def write(examples: Sequence[Example], student: Any, tokenizer: Any, path: Path, config: Config) -> list[Written]:
    """Return the student's plan for each example with its grade; those written before are read from the file."""
    records = Records(path, Written)
    asking = asking_words(read_source(Source(name="everyday")))
    # Of like length together, so that little is padding.
    left = sorted((one for one in examples if one.id not in records.records), key=lambda one: len(one.question))
    for start in range(0, len(left), 2 * _AT_ONCE):
        group = left[start : start + 2 * _AT_ONCE]
        for example, (plan,) in zip(group, write_plans(group, 0, student, tokenizer, config), strict=True):
            known = example.model_copy(update={"recorded": Recorded(subquestions=example.subquestions or ())})
            good = grade(known, plan, kind="", asking=asking).good
            records.add(Written(id=example.id, plan=plan, good=good))
        print(f"prefer: plans for {len(records.records)} of {len(examples)} examples", flush=True)
    return [records.records[example.id] for example in examples]


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
            yield Preference(question.example, (), better if better else None)
        elif best > worst and better:
            yield Preference(question.example, better, worse)


def corrected(examples: Sequence[Example], written: Sequence[Written]) -> Iterator[Preference]:
    """Yield the known plan above the student's own, where that is not good."""
    for example, one in zip(examples, written, strict=True):
        known = example.subquestions or ()
        if not one.good and one.plan != known:
            yield Preference(example, known, one.plan)


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
