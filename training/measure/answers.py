"""The task of answering: a question, through its plan or single stage, to a verdict on the solver's reply.

What the models write is out of version control: plans are kept in the measurement's folder, replies nowhere.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_divconq.solver import Solver
from training.example import Example
from training.measure.models import Meter, why_failed, why_no_reply
from training.measure.plans import Planned
from training.measure.records import AnswerRecord, Mode, shortened
from training.measure.self_ask import SELF_ASK_VERSION, first_prompt, self_ask
from training.measure.task import Task
from training.measure.verdicts import judge
from training.teach.teachers import solver_prompts

_FOLLOW_UPS = 3
_ROUND = "As long as a round of a solver that asks itself something, and works the answer out, may be. " * 5


class Answering(Task[AnswerRecord]):
    """An arm that answers."""

    kind = AnswerRecord
    reply_tokens = 250

    def more_settings(self) -> dict[str, Any]:
        """Return the version of the prompts of self-ask."""
        return {"self_ask_version": SELF_ASK_VERSION} if self.arm.mode == "self_ask" else {}

    def prompts(self, example: Example, subquestions: Sequence[str]) -> Iterator[list[BaseMessage]]:
        """Yield what the solver will be sent about one question."""
        mode = self.arm.mode
        if mode == "self_ask":
            for rounds in range(_FOLLOW_UPS + 1):
                yield [*first_prompt(example.asked), *[HumanMessage(_ROUND)] * rounds]
        else:
            yield from solver_prompts(example.asked, subquestions, mode)  # type: ignore[arg-type]  # no mode of a search

    async def ask(self, example: Example, planned: Planned) -> AnswerRecord:
        """Return the record of one question."""
        decomposition, meter = planned.decomposition, Meter()
        count = len(decomposition.subquestions)
        why, text, answer = planned.failure, "", None
        if why is None:
            try:
                if self.arm.mode == "self_ask":
                    text, answer, count = await self_ask(self.model, example.asked, {"callbacks": [meter]})
                else:
                    mode: Any = self.arm.mode
                    is_single = mode in ("direct", "step_by_step")
                    solver = Solver(model=self.model, **{"single_stage" if is_single else "mode": mode})
                    solution = await solver.ainvoke(decomposition, {"callbacks": [meter]})
                    text, answer = solution.text, solution.answer
                why = why_no_reply(meter.last)
            except Exception as error:  # whatever a provider's package raises
                why = why_failed(error)
                print(f"{self.arm.name}, {example.id}: {type(error).__name__}: {error}", file=sys.stderr)
        return AnswerRecord(
            id=example.id,
            source=example.source,
            mode=self._mode(planned),
            subquestions=count,
            no_decomposition_probability=decomposition.no_decomposition_probability,
            no_plan=planned.no_plan,
            **self.used(planned, meter.usage),
            **scores(example, text, answer, why),
        )

    def figures(self, records: Sequence[AnswerRecord]) -> str:
        """Return how many are right."""
        return f"{sum(record.strict for record in records):g} of {len(records)} right"

    def _mode(self, planned: Planned) -> Mode:
        mode: Any = self.arm.mode
        is_undivided = mode in ("fused", "sequential", "parallel") and not planned.decomposition.subquestions
        return "step_by_step" if is_undivided else mode


def scores(example: Example, text: str, answer: str | None, failure: str | None) -> dict[str, Any]:
    """Return what a record says of a reply.

    `failure` says why there is no reply to judge; None: there is one.
    """
    if failure is not None:
        f1 = 0.0 if example.source.startswith("drop") else None
        return {"strict": 0.0, "lenient": 0.0, "f1": f1, "why": failure}
    verdict = judge(example, text, answer)
    return {**asdict(verdict), "answer": shortened(verdict.answer, example.question, example.context)}
