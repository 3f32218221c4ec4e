"""Stage 3: a solver answers through each demonstration, and what the student's role can learn from is kept.

A plan that leads to the gold answer by luck survives too: only answers are compared.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.runnables import Runnable

from langchain_divconq.prompts import ANSWER_MARKER, PROMPT_VERSION
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Mode
from training.config import Config, Role
from training.example import Example, LeftOut, Outcome, examples_fingerprint, kept, load_examples, render_counts
from training.scoring import same_answer
from training.teach.demonstrate import save_stage
from training.teach.requests import Journal, run_durably
from training.teach.teachers import RECORDED, load_teacher, preview, solver_prompts

WRONG = "the answer through it is wrong"

_REPLY_TOKENS = 200
_NAMED_IDS = 5
_REFERENCE = re.compile(r"#\d+")
_WORD = re.compile(r"\w+")


def screen(config: Config, solver: Runnable[Any, Any] | None = None) -> None:
    """Read the demonstrations and write those the student's role learns from, and what was left out and why.

    S_D-T takes all as they are, and S_E-A-direct all with a gold answer: neither asks a solver.

    `solver` takes the place of the one the config names.

    Raises:
        ValueError: There is no such solver, nothing recorded where recorded answers are asked for, or nothing is left.
        UnfinishedError: Requests failed; what was finished is kept for the next run.
    """
    folder, role = config.folder, config.finetune.role
    demonstrations = list(load_examples(folder / "2-demonstrations.jsonl"))
    validation = list(load_examples(folder / "2-validation.jsonl"))
    both = [*demonstrations, *validation]
    journal: Journal | None = None
    outcomes: list[Outcome]
    if role in ("S_D-T", "S_E-A-direct"):
        outcomes = [*both]
    elif config.screen.solver == RECORDED and solver is None:
        if config.demonstrate.teacher != RECORDED:
            raise ValueError(
                f"screen.solver is {RECORDED!r}, but the plans are {config.demonstrate.teacher}'s: no answers through "
                "them are recorded. Name a solver."
            )
        outcomes = take_recorded_answers(both, role)
    else:
        outcomes, journal = _solve(config, both, load_teacher(config.screen.solver) if solver is None else solver)
    outcomes = [select(outcome, role) for outcome in outcomes]
    print(f"Screened for {role}, {len(validation):,} for validation included:\n{render_counts(outcomes)}")
    if not kept(outcomes[: len(demonstrations)]):
        raise ValueError(f"None of {len(demonstrations)} demonstrations is left for {role}; see the counts above.")
    save_stage(outcomes, len(demonstrations), folder / "3-screened.jsonl", journal)


def select(outcome: Outcome, role: Role) -> Outcome:
    """Return a solved example as it is if the role can learn from it, and else why not."""
    if isinstance(outcome, LeftOut) or role == "S_D-T":
        return outcome
    if role == "S_D-R" and outcome.prediction is None:
        return outcome  # undivided, and its source says that one step is enough: there is no plan to mislead
    if role in ("S_E-T", "S_E-T-direct"):
        if not outcome.prediction:
            return LeftOut(id=outcome.id, reason="no final answer")
    elif not outcome.answers:
        return LeftOut(id=outcome.id, reason="no gold answer")
    if role == "S_D-R" and not any(same_answer(outcome.prediction, gold) for gold in outcome.answers):
        return LeftOut(id=outcome.id, reason=WRONG)
    if role in ("S_E-T", "S_E-A") and outcome.subquestions and not outcome.subanswers:
        return LeftOut(id=outcome.id, reason="no answer to each subquestion")
    return outcome


def take_recorded_answers(examples: Sequence[Example], role: Role) -> list[Outcome]:
    """Return the examples with the answers their datasets record.

    One-step questions need no recorded answer: their plan, which is none, leads nowhere wrong.

    Raises:
        ValueError: There is no recorded answer to a divided question; names some.
    """
    outcomes: list[Outcome] = []
    lacking = []
    for example in examples:
        recorded = example.recorded
        if recorded is not None and recorded.prediction is not None:
            subanswers = recorded_subanswers(example)
            # Of a plan cut short the recorded working would lead from steps that are not there.
            is_whole = len(subanswers or ()) == len(recorded.subquestions)
            answers = {
                "prediction": recorded.prediction,
                "subanswers": subanswers,
                "working": recorded.working if is_whole else None,
            }
            outcomes.append(example.model_copy(update=answers))
        elif not example.subquestions:
            outcomes.append(example)
        else:
            lacking.append(example.id)
    if lacking:
        more = f" and {len(lacking) - _NAMED_IDS} more" if len(lacking) > _NAMED_IDS else ""
        raise ValueError(
            f"No final answer is recorded for {', '.join(lacking[:_NAMED_IDS])}{more}, so {role} cannot be screened by "
            f"what is recorded. Name a model as screen.solver, or load sources that record answers."
        )
    return outcomes


def recorded_subanswers(example: Example) -> tuple[str, ...] | None:
    """Return the recorded answer to each subquestion of the plan; None where one is missing.

    The plan may be shorter than the recorded one and its references renumbered: subquestions are found by their words.
    """
    assert example.recorded is not None
    subquestions, subanswers = example.recorded.subquestions, example.recorded.subanswers
    if not example.subquestions:
        return ()
    if subanswers is None or len(subanswers) != len(subquestions):
        return None
    known = {_words(subquestion): subanswer for subquestion, subanswer in zip(subquestions, subanswers, strict=True)}
    found = [known.get(_words(subquestion), "") for subquestion in example.subquestions]
    return tuple(found) if all(found) else None


def answer_through(example: Example, solver: Solver) -> Outcome:
    """Return the example with what the solver says through its plan."""
    assert example.subquestions is not None  # the stage before gives them
    decomposition = Decomposition(question=example.asked, subquestions=example.subquestions)
    try:
        solution = solver.invoke(decomposition)
    except ContextOverflowError:
        return LeftOut(id=example.id, reason="too long for the solver")
    answers = [known.answer for known in solution.subanswers or ()]
    found = tuple(answer for answer in answers if answer is not None)
    is_complete = len(found) == len(example.subquestions)
    working = solution.text.rpartition(ANSWER_MARKER)[0].strip()
    return example.model_copy(
        update={
            "prediction": solution.answer or "",
            "subanswers": found if is_complete else None,
            "working": working or None,
        }
    )


def _solve(config: Config, examples: Sequence[Example], model: Runnable[Any, Any]) -> tuple[list[Outcome], Journal]:
    """Return what becomes of the examples, and the journal that keeps it until the stage's artifacts are written."""
    options = config.screen
    # Where the student learns to answer subquestions, each is asked on its own, so that its answer is known.
    mode: Mode = "sequential" if config.finetune.role in ("S_E-T", "S_E-A") else "fused"
    settings = {"solver": options.solver, "mode": mode, "prompts": PROMPT_VERSION}
    settings["examples"] = examples_fingerprint(examples)
    journal = Journal(config.folder / "3-screened.jsonl.journal", settings)
    unanswered = journal.unfinished(examples)
    prompts = (prompt for one in unanswered for prompt in solver_prompts(one.asked, one.subquestions or (), mode))
    print(preview(options.solver, prompts, _REPLY_TOKENS))
    work = partial(answer_through, solver=Solver(model=model, mode=mode))
    return run_durably(examples, work, journal, concurrency=options.concurrency, attempts=options.attempts), journal


def _words(subquestion: str) -> tuple[str, ...]:
    words = _WORD.findall(_REFERENCE.sub("", subquestion.casefold()))
    return tuple(word for word in words if word not in ("given", "and"))
