"""A student's prompts and completions, for each role. The prompts are the library's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from langchain_core.messages import BaseMessage

from langchain_divconq.answers import parse_answer
from langchain_divconq.plans import render_plan
from langchain_divconq.prompts import ANSWER_MARKER, decomposition_prompt, fused_prompt, single_stage_prompt
from training.config import Role
from training.data.plans import read_plan
from training.example import Example


@dataclass(frozen=True)
class Target:
    """A prompt and its completion, in words."""

    id: str
    prompt: tuple[BaseMessage, ...]
    completion: str


def target(example: Example, role: Role, max_subquestions: int) -> Target:
    """Return what the student of a role learns from an example.

    S_D-T and S_D-R write the plan; the cap they are told is one that the plan keeps to, from three up to the greatest,
    since a user sets it. S_E-T writes the solver's subanswers, its working from there and its final answer; S_E-A the
    gold answer in place of that, and the working where that is what it led to; their direct variants write the final
    answer alone (PAPER.md, method 3).

    Raises:
        ValueError: The example lacks what the role needs; names it and the stage to run.
    """
    if example.subquestions is None:
        raise ValueError(f"{example.id} has no subquestions; run the demonstrate stage first.")
    question = example.asked
    if role in ("S_D-T", "S_D-R"):
        caps = range(max(3, len(example.subquestions)), max_subquestions + 1) or [max_subquestions]
        prompt = decomposition_prompt(question, caps[crc32(example.id.encode()) % len(caps)], "student")
        return Target(example.id, tuple(prompt), render_plan(example.subquestions))
    answer = example.answers[0] if "S_E-A" in role and example.answers else example.prediction
    if not answer:
        raise ValueError(f"{example.id} has no answer for {role}; run the screen stage first.")
    closing = f"{ANSWER_MARKER} {answer}"
    if role.endswith("direct"):
        return Target(example.id, tuple(single_stage_prompt(question, "direct")), closing)
    if example.working and answer == example.prediction:
        closing = f"{example.working}\n\n{closing}"
    if not example.subquestions:
        return Target(example.id, tuple(single_stage_prompt(question, "step_by_step")), closing)
    if example.subanswers is None or len(example.subanswers) != len(example.subquestions):
        raise ValueError(f"{example.id} has no answer to each subquestion, which {role} needs; run the screen stage.")
    prompt = fused_prompt(question, example.subquestions)
    return Target(example.id, tuple(prompt), render_plan(example.subanswers) + f"\n\n{closing}")


def parse_rate(replies: Sequence[Sequence[int]], tokenizer: Any, role: Role) -> float:
    """Return the share of replies that the library reads: as a plan, or for a solver as an answer."""
    read = parse_answer if role.startswith("S_E") else read_plan
    return sum(read(tokenizer.decode(one, skip_special_tokens=True)) is not None for one in replies) / len(replies)
