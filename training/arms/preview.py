"""What an arm will take, told before a model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_divconq.prompts import decomposition_prompt, reading_prompt
from training.arms.config import DecomposerOptions, SolverOptions
from training.arms.corpus import MultiHop
from training.arms.readers import rewriting_prompt
from training.arms.records import Mode
from training.arms.retrieval_config import REWRITE, RetrievalArm, RetrievalConfig
from training.arms.self_ask import first_prompt
from training.example import Example
from training.teachers import Preview, preview, solver_prompts

_REPLY_TOKENS = 250
_DIRECT_REPLY_TOKENS = 10
_SUBQUESTION_TOKENS = 20
_FOLLOW_UPS = 3
# As long as one that nobody has written yet.
_SUBQUESTION = "How many of them are left after the first day of the week is over and done with?"
_ROUND = _SUBQUESTION * 5


def preview_plans(examples: Sequence[Example], options: DecomposerOptions) -> Preview:
    """Return what it will take to have a decomposer's model divide the examples."""
    style = options.prompt_style or ("student" if options.kind in ("shipped", "gguf") else "one_shot")
    cap = options.max_subquestions
    prompts = (decomposition_prompt(example.asked, cap, style) for example in examples)
    return preview(prompts, _SUBQUESTION_TOKENS * cap, options.price)


def preview_answers(
    examples: Sequence[Example],
    plans: Mapping[str, tuple[str, ...]],
    mode: Mode,
    decomposer: DecomposerOptions,
    solver: SolverOptions,
) -> Preview:
    """Return what it will take to have a solver answer the examples.

    Args:
        examples: What is asked.
        plans: The subquestions of those whose plan is known, by id. Others are taken to have as many as the cap allows.
        mode: How the solver is asked.
        decomposer: Has the cap.
        solver: Has the price.
    """
    unknown = (_SUBQUESTION,) * decomposer.max_subquestions
    prompts = (prompt for one in examples for prompt in _prompts(one, plans.get(one.id, unknown), mode))
    return preview(prompts, _DIRECT_REPLY_TOKENS if mode == "direct" else _REPLY_TOKENS, solver.price)


def preview_readings(
    questions: Sequence[MultiHop], arm: RetrievalArm, config: RetrievalConfig, texts: Mapping[str, str]
) -> Preview:
    """Return what it will take to have the solver rewrite the questions, read the passages for them, or answer them.

    Args:
        questions: What is asked.
        arm: Who asks: one that needs a solver. Plans are taken to have as many subquestions as the dataset's own.
        config: Has the solver's price, and how many passages are read.
        texts: The passages; the one of middling length stands for all.
    """
    passage = sorted(texts.values(), key=len)[len(texts) // 2]

    def prompts() -> Iterator[list[BaseMessage]]:
        for one in questions:
            if arm.answered is not None:
                yield reading_prompt(one.example.question, [passage] * config.answer_k)
            elif arm.name == REWRITE:
                yield rewriting_prompt(one.example.question)
            else:
                yield from (reading_prompt(hop, [passage] * config.read_k) for hop in one.plan[:-1])

    return preview(prompts(), _DIRECT_REPLY_TOKENS, config.solver.price if config.solver else None)


def _prompts(example: Example, subquestions: tuple[str, ...], mode: Mode) -> Iterator[list[BaseMessage]]:
    question = example.asked
    if mode == "self_ask":
        for rounds in range(_FOLLOW_UPS + 1):
            yield [*first_prompt(question), *[HumanMessage(_ROUND)] * rounds]
    else:
        yield from solver_prompts(question, subquestions, mode)
