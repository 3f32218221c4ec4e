"""The decompositions an arm is given: written by a model and kept, or recorded in a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from pydantic import AliasChoices, Field

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.prompts import decomposition_prompt
from langchain_divconq.types import Decomposition
from langchain_divconq.usage import StageUsage
from training.config import Source
from training.data.plans import LongPlans, Unusable, recorded_plan
from training.data.sources import read_source
from training.example import Example
from training.measure.config import DecomposerOptions
from training.measure.models import Meter, ask_all, why_failed
from training.store import Frozen, Records

_LONG_PLANS: LongPlans = "first"
"""What becomes of a recorded plan beyond the cap: as the shipped student was taught."""

_FREE_TOKENS = 128
"""Most tokens of a reply that is held to no grammar; one that is longer ends nowhere."""


class Planned(Frozen):
    """A question's plan, as it was written or recorded: a line of a file of plans."""

    id: str
    """The example's."""
    decomposition: Decomposition
    """Without subquestions where there are none, for whatever reason; with what it took to ask."""
    no_plan: str | None = Field(default=None, validation_alias=AliasChoices("no_plan", "failed"))
    """Why there is no usable plan, in a short phrase of a fixed set; None: there is one, or the decomposer says that
    none is needed. ("failed" is how older files say it.)"""
    failure: str | None = None
    """Why the decomposer gave no reply, in the words of an answer's record; None: it did, or is no model. Never in a
    file: such a question is asked again."""
    free: str | None = None
    """What the model writes when it is held to no grammar; None: it was not asked."""
    ended: bool = True
    """Whether that reply ends by itself."""

    @classmethod
    def of(cls, example: Example, subquestions: Sequence[str] = (), **known: Any) -> "Planned":
        """Return the plan of an example; `usage`, `no_plan` and `failure` as far as they are known."""
        usage = known.pop("usage", StageUsage())
        decomposition = Decomposition(question=example.asked, subquestions=tuple(subquestions), usage=usage)
        return cls(id=example.id, decomposition=decomposition, **known)


def undivided(examples: Sequence[Example]) -> dict[str, Planned]:
    """Return the examples without subquestions, by id: nobody was asked for any."""
    return {one.id: Planned.of(one) for one in examples}


def take_recorded(examples: Sequence[Example], options: DecomposerOptions, asked: Source) -> dict[str, Planned]:
    """Return the recorded decomposition of each example, by its id. Questions are matched by their words.

    The same split of the source is read as was asked of.

    Raises:
        ValueError: That source cannot be read.
    """
    assert options.source is not None
    source = asked if asked.name == options.source else Source(name=options.source, split=asked.split)
    wanted = {_words(example) for example in examples}
    found = {words: one.recorded for one in read_source(source) if (words := _words(one)) in wanted}
    planned = {}
    for example in examples:
        example = example.model_copy(update={"recorded": found.get(_words(example))})
        try:
            planned[example.id] = Planned.of(example, recorded_plan(example, options.max_subquestions, _LONG_PLANS))
        except Unusable as error:
            planned[example.id] = Planned.of(example, no_plan=error.reason)
    return planned


def write_plans(
    examples: Sequence[Example],
    decomposer: Decomposer,
    path: Path,
    settings: dict[str, Any],
    *,
    concurrency: int = 1,
    title: str = "",
    free: bool = False,
) -> dict[str, Planned]:
    """Return a model's decomposition of each example, by its id; those that the file at `path` holds are taken from it.

    `settings` are what the plans depend on, in JSON's types. With `free` the model is asked a second time, held to no
    grammar; then nothing may fail.

    Raises:
        ValueError: The file holds plans that were written under other settings, or of other questions.
        Exception: What would fail every question alike (no key, no file, no server), as it came.
    """
    file = Records(path, Planned, settings)
    failures: dict[str, Planned] = {}

    async def divide(example: Example) -> None:
        meter = Meter()
        try:
            decomposition = await decomposer.ainvoke(example.asked, {"callbacks": [meter]})
            reply = await _free_reply(decomposer, example) if free else {}
            planned = Planned(id=example.id, decomposition=decomposition, **reply)
        except (DecompositionError, ContextOverflowError) as error:
            # No plan comes of this question however often it is asked, so this is a result as well.
            planned = Planned.of(example, usage=meter.usage, no_plan=type(error).__name__)
        except Exception as error:  # whatever a provider's package raises
            if free:
                raise
            failures[example.id] = Planned.of(example, usage=meter.usage, failure=why_failed(error))
            return
        file.add(planned)

    for example in examples:
        if example.id in file.records and file.records[example.id].decomposition.question != example.asked:
            raise ValueError(f"{path} holds the plan of another question under {example.id}. Move the file away.")
    left = [example for example in examples if example.id not in file.records]
    ask_all(left, divide, concurrency=concurrency, done=len(examples) - len(left), title=title)
    return {example.id: failures.get(example.id) or file.records[example.id] for example in examples}


async def _free_reply(decomposer: Decomposer, example: Example) -> dict[str, Any]:
    prompt = decomposition_prompt(example.asked, decomposer.max_subquestions, decomposer.prompt_style or "one_shot")
    reply = await decomposer.model.ainvoke(prompt, max_tokens=_FREE_TOKENS)
    return {"free": reply.text, "ended": reply.response_metadata.get("finish_reason") != "length"}


def _words(example: Example) -> str:
    return " ".join(f"{example.context or ''} {example.question}".split())
