"""Stage 2: the plan each example is to be answered by, as the datasets record it or as a teacher has it.

A teacher decomposes and never solves: it is asked just as the library asks any decomposer.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.runnables import Runnable

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.plans import parse_plan
from langchain_divconq.prompts import PROMPT_VERSION, decomposition_prompt
from langchain_divconq.usage import Price
from training.config import Config, Demonstrate
from training.data.plans import LongPlans, Unusable, recorded_plan
from training.example import (
    Example,
    LeftOut,
    Outcome,
    Recorded,
    examples_fingerprint,
    kept,
    load_examples,
    render_counts,
    save_examples,
    save_left_out,
)
from training.teach.requests import Journal, run_durably
from training.teach.teachers import RECORDED, load_teacher, preview

_TOKENS_PER_SUBQUESTION = 20


def demonstrate(config: Config, teacher: Runnable[Any, Any] | None = None) -> None:
    """Read the loaded examples and write those with a plan, and what was left out and why.

    `teacher` takes the place of the model the config names.

    Raises:
        ValueError: There is no such teacher, or no example has a plan.
        UnfinishedError: Requests failed; what was finished is kept for the next run.
    """
    folder, options = config.folder, config.demonstrate
    examples = list(load_examples(folder / "1-examples.jsonl"))
    validation = list(load_examples(folder / "1-validation.jsonl"))
    both = [*examples, *validation]
    journal = None
    if options.teacher == RECORDED and teacher is None:
        outcomes = [take_recorded(example, options.max_subquestions, options.long_plans) for example in both]
    else:
        decomposer = Decomposer(
            model=load_teacher(options.teacher) if teacher is None else teacher,
            max_subquestions=options.max_subquestions,
        )
        settings = {
            "teacher": options.teacher,
            "max_subquestions": options.max_subquestions,
            "prompts": PROMPT_VERSION,
            "examples": examples_fingerprint(both),
        }
        journal = Journal(folder / "2-demonstrations.jsonl.journal", settings)
        print(preview_teacher(journal.unfinished(both), options))
        work = partial(write_plan, decomposer=decomposer)
        outcomes = run_durably(both, work, journal, concurrency=options.concurrency, attempts=options.attempts)
    demonstrations = kept(outcomes[: len(examples)])
    print(f"Demonstrations, {len(validation):,} for validation included:\n{render_counts(outcomes)}")
    if not demonstrations:
        raise ValueError(f"None of {len(examples)} examples has a plan a student could learn; see the counts above.")
    save_stage(outcomes, len(examples), folder / "2-demonstrations.jsonl", journal)


def save_stage(outcomes: Sequence[Outcome], train: int, path: Path, journal: Journal | None) -> None:
    """Write a stage's artifacts, the training examples last, and remove its journal; the first `train` are those."""
    number = path.name[:2]
    save_left_out(outcomes, path.with_name(f"{number}left-out.json"))
    save_examples(kept(outcomes[train:]), path.with_name(f"{number}validation.jsonl"))
    save_examples(kept(outcomes[:train]), path)
    if journal is not None:
        journal.remove()


def take_recorded(example: Example, max_subquestions: int, long_plans: LongPlans) -> Outcome:
    """Return the example with the plan its dataset records."""
    try:
        plan = recorded_plan(example, max_subquestions, long_plans)
    except Unusable as error:
        return LeftOut(id=example.id, reason=error.reason)
    return example.model_copy(update={"subquestions": plan})


def write_plan(example: Example, decomposer: Decomposer) -> Outcome:
    """Return one example with the teacher's plan, brought into the form of recorded ones."""
    try:
        decomposition = decomposer.invoke(example.asked)
        if not decomposition.subquestions and decomposition.text and parse_plan(decomposition.text):
            # Not the sentinel: the library goes on without a plan, and a student must not learn that there is none.
            return LeftOut(id=example.id, reason="only restates the question")
    except DecompositionError:
        return LeftOut(id=example.id, reason="the reply is no plan")
    except ContextOverflowError:
        return LeftOut(id=example.id, reason="too long for the teacher")
    written = example.model_copy(update={"recorded": Recorded(subquestions=decomposition.subquestions)})
    outcome = take_recorded(written, decomposer.max_subquestions, "drop")
    return outcome if isinstance(outcome, LeftOut) else outcome.model_copy(update={"recorded": example.recorded})


def preview_teacher(examples: Sequence[Example], options: Demonstrate) -> str:
    """Return in words what it will take to ask the teacher for these plans."""
    cap, prices = options.max_subquestions, (options.dollars_per_million_input, options.dollars_per_million_output)
    prompts = (decomposition_prompt(example.asked, cap, "one_shot") for example in examples)
    price = Price(input=prices[0], output=prices[1]) if any(prices) else None
    return preview(options.teacher, prompts, _TOKENS_PER_SUBQUESTION * cap, price)
