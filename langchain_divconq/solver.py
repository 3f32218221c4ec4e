"""The second stage: Decomposition → Solution, with any chat model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BaseModel, ConfigDict, Field, model_validator

from langchain_divconq.budget import Account, Cost, unlimited
from langchain_divconq.calls import (
    Call,
    Limiter,
    Stage,
    acall_model,
    adrive,
    call_model,
    can_structure,
    drive,
    structured,
)
from langchain_divconq.closing import Closing, Findings
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.ladder import Rung, choose, estimated, lengthened, shortened, total_cost, waves
from langchain_divconq.prompts import (
    ANSWER_MARKER,
    closing_prompt,
    fused_prompt,
    single_stage_prompt,
    subquestion_prompt,
)
from langchain_divconq.subsolvers import Route, pick, read_subanswer, subsolver_input
from langchain_divconq.types import (
    Decomposition,
    Mode,
    Question,
    SingleStage,
    Solution,
    Subanswer,
    fill_references,
    references,
)
from langchain_divconq.unwrap import is_chat_model
from langchain_divconq.usage import Price, StageUsage, add_metadata


class FinalAnswer(BaseModel):
    """The working and the final answer."""

    working: str = Field(description="The reasoning that leads to the answer, step by step.")
    answer: str = Field(description="The final answer alone, as short as possible.")


_SCHEMA_TOKENS = len(str(FinalAnswer.model_json_schema()))
"""More than the schema takes in a prompt: a token a character."""


class Solver(RunnableSerializable[Decomposition, Solution]):
    """Answers a question through its subquestions.

    Attributes:
        model: Any chat model, or a Runnable that takes messages and returns a message or text.
        mode: "fused" asks everything in one call, as the paper does; "sequential" asks one subquestion after another,
            showing the earlier answers; "parallel" asks those at once that need no other's answer. The last two fill
            references in and end with one closing call; a subquestion that needs an answer nobody found is not asked.
        subsolver: Who answers the subquestions of the last two modes instead of the model, or a function of subquestion
            and question that picks one (None: the model). A chat model is asked as the model is. Any other Runnable is
            given the subquestion alone, references filled in, as text (an agent: as its one message), and returns text,
            a message, or a state that ends with one. It gets none of a call's keyword arguments.
        single_stage: How a question without subquestions is asked: "step_by_step" or "direct".
        structured: Whether the final answer is asked for as structured output (the model must support
            `with_structured_output`) instead of being read from the text.
        price: What the model costs; None: not counted in dollars. What a subsolver costs is not.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Runnable[Any, Any]
    mode: Mode = "fused"
    subsolver: Runnable[Any, Any] | Route | None = None
    single_stage: SingleStage = "step_by_step"
    structured: bool = False
    price: Price | None = None

    @model_validator(mode="after")
    def _go_together(self) -> Solver:
        if self.structured and not can_structure(self.model):
            raise ConfigurationError(
                f"structured=True needs a model with with_structured_output; {type(self.model).__name__} has none. "
                "Pass the chat model itself, or structured=False."
            )
        if self.subsolver is not None and self.mode == "fused":
            raise ConfigurationError(
                'A subsolver needs mode="sequential" or "parallel": "fused" asks all subquestions in one call.'
            )
        return self

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of the model and of a subsolver."""
        fixed = [self.subsolver] if isinstance(self.subsolver, Runnable) else []
        return get_unique_config_specs(spec for runnable in (self.model, *fixed) for spec in runnable.config_specs)

    def invoke(self, input: Decomposition, config: RunnableConfig | None = None, **kwargs: Any) -> Solution:
        """Return the solution of one decomposed question."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Decomposition, config: RunnableConfig | None = None, **kwargs: Any) -> Solution:
        """Return the solution of one decomposed question, without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, value: Decomposition, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Solution:
        limiter = Limiter(config.get("max_concurrency"))
        config = patch_config(config, callbacks=run_manager.get_child())
        closing = drive(self.stage(value, kwargs), config, limiter)
        return closing.finish(call_model(closing.call, config, limiter))

    async def _ainvoke(
        self, value: Decomposition, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Solution:
        limiter = Limiter(config.get("max_concurrency"))
        config = patch_config(config, callbacks=run_manager.get_child())
        closing = await adrive(self.stage(value, kwargs), config, limiter)
        return closing.finish(await acall_model(closing.call, config, limiter))

    def check(self, question: Question, options: dict[str, Any], account: Account) -> None:
        """Refuse a question that cannot be answered even undivided.

        Raises:
            BudgetExceededError: The account does not pay for it.
            ConfigurationError: It is in dollars, and the model has no price.
        """
        choose(self._rungs(Decomposition(question=question), options, account), account)

    def stage(
        self, decomposition: Decomposition, options: dict[str, Any], account: Account | None = None
    ) -> Stage[Closing]:
        """Ask what has to be known before the closing call, and return that call.

        Args:
            decomposition: What to solve.
            options: Keyword arguments for every call of the model.
            account: What it may cost; None: there is no limit.

        Raises:
            BudgetExceededError: The account pays for no way to answer.
        """
        account = account or unlimited()
        account.spend(Cost(dollars=decomposition.usage.dollars or 0.0))
        rung, cut = choose(self._rungs(decomposition, options, account), account)
        reasons = [decomposition.reason or f"{len(decomposition.subquestions)} subquestions", cut]
        found = Findings()
        if rung.mode in ("sequential", "parallel"):
            found = yield from self._ask(decomposition, options, account, (account.left - rung.cost) / len(rung.calls))
            missing = sum(subanswer.answer is None for subanswer in found.subanswers or ())
            unanswered = f"{missing} of {len(decomposition.subquestions)} have no answer" if missing else ""
            rung, cut = choose(self._last_rungs(decomposition, found, options, account), account)
            reasons += [found.cut, unanswered, cut]
        call = lengthened(rung.calls[-1], account.left)
        account.spend(call.estimate.cost)
        return Closing(
            decomposition=decomposition,
            call=call,
            mode=rung.mode,
            reason="; ".join(reason for reason in (*reasons, rung.note) if reason),
            found=found,
            price=self.price,
            account=account,
        )

    def _ask(
        self, decomposition: Decomposition, options: dict[str, Any], account: Account, spare: Cost
    ) -> Stage[Findings]:
        question, subquestions = decomposition.question, decomposition.subquestions
        found: dict[int, Subanswer] = {}
        usage, usage_metadata, cut = StageUsage(), None, ""
        for wave in self._waves(subquestions):
            answers = {number: known.answer for number, known in found.items() if known.answer is not None}
            filled = {number: fill_references(subquestions[number - 1], answers) for number in wave}
            known = list(found.values())
            calls: dict[int, Call] = {}
            if not cut:
                askable = [n for n in wave if all(needed in answers for needed in references(subquestions[n - 1]))]
                who = [(n, pick(self.subsolver, filled[n], question)) for n in askable]
                calls = {n: self._subquestion_call(s, n, filled[n], question, known, options, account) for n, s in who}
                pending = unanswered([s for n, s in enumerate(subquestions, start=1) if n not in found])
                closing = self._closing_call(closing_prompt(question, [*known, *pending]), options, account)
                if calls and (shortage := account.shortage(total_cost([*calls.values(), closing]), rounds=2)):
                    cut, calls = f"the budget does not pay for more subquestions: with the next, {shortage}", {}
            calls = {number: lengthened(call, call.estimate.cost + spare) for number, call in calls.items()}
            account.spend(total_cost(calls.values()))
            replies = (yield list(calls.values())) if calls else []
            replied: dict[int, str | None] = {}
            for (number, call), reply in zip(calls.items(), replies, strict=True):
                account.settle(call.estimate, reply.message, reply.seconds)
                is_own = call.model is self.model
                replied[number] = read_subanswer(reply.message, is_told=is_own or is_chat_model(call.model))
                price = self.price if is_own else None
                usage += StageUsage.of_call(reply.message, seconds=reply.seconds, price=price)
                usage_metadata = add_metadata(usage_metadata, reply.message.usage_metadata)
            found.update({n: Subanswer(subquestion=filled[n], answer=replied.get(n)) for n in wave})
        subanswers = tuple(found[number] for number in sorted(found))
        return Findings(subanswers=subanswers, usage=usage, usage_metadata=usage_metadata, cut=cut)

    def _rungs(self, decomposition: Decomposition, options: dict[str, Any], account: Account) -> Iterator[Rung]:
        if account.limits_dollars and self.price is None:
            raise ConfigurationError(
                "A budget in dollars needs to know what the solver's model costs: Solver(model=…, price=Price(input=…, "
                "output=…)), in dollars per million tokens."
            )
        question, subquestions = decomposition.question, decomposition.subquestions
        if subquestions and self.mode != "fused":
            asked = unanswered(subquestions)
            # Which subsolver a function picks is known once the references are filled in; until then it is the model.
            fixed = self.subsolver if isinstance(self.subsolver, Runnable) else None
            calls = [
                self._subquestion_call(fixed, n, known.subquestion, question, asked[:n], options, account)
                for n, known in enumerate(asked)
            ]
            closing = self._closing_call(closing_prompt(question, asked), options, account)
            yield Rung(self.mode, (*calls, closing), rounds=len(self._waves(subquestions)) + 1)
        if subquestions:
            yield Rung("fused", (self._closing_call(fused_prompt(question, subquestions), options, account),))
        yield from self._single_stage_rungs(question, options, account)

    def _last_rungs(
        self, decomposition: Decomposition, found: Findings, options: dict[str, Any], account: Account
    ) -> Iterator[Rung]:
        prompt = closing_prompt(decomposition.question, found.subanswers or ())
        yield Rung(self.mode, (self._closing_call(prompt, options, account),))
        yield from self._single_stage_rungs(decomposition.question, options, account)

    def _single_stage_rungs(self, question: Question, options: dict[str, Any], account: Account) -> Iterator[Rung]:
        prompt = single_stage_prompt(question, self.single_stage)
        yield Rung(self.single_stage, (self._closing_call(prompt, options, account),))
        call = shortened(self._closing_call(single_stage_prompt(question, "direct"), options, account), account)
        note = f"the reply is held to {call.estimate.output_tokens} tokens" if call.estimate.is_held else ""
        yield Rung("direct", (call,), note=note)

    def _waves(self, subquestions: Sequence[str]) -> list[list[int]]:
        return waves(subquestions) if self.mode == "parallel" else [[n] for n in range(1, len(subquestions) + 1)]

    def _subquestion_prompt(
        self, question: Question, subquestion: str, known: Sequence[Subanswer]
    ) -> list[BaseMessage]:
        return subquestion_prompt(question, subquestion, known if self.mode == "sequential" else [])

    def _subquestion_call(
        self,
        subsolver: Runnable[Any, Any] | None,
        number: int,
        subquestion: str,
        question: Question,
        known: Sequence[Subanswer],
        options: dict[str, Any],
        account: Account,
    ) -> Call:
        name = f"divconq:subquestion-{number}"
        prompt = self._subquestion_prompt(question, subquestion, known)
        if subsolver is None:
            return self._model_call(prompt, name, options, account)
        given = prompt if is_chat_model(subsolver) else subsolver_input(subsolver, subquestion)
        return estimated(Call(subsolver, given, name), prompt, None, account)

    def _model_call(self, prompt: list[BaseMessage], name: str, options: dict[str, Any], account: Account) -> Call:
        return estimated(Call(self.model, prompt, name, options=options), prompt, self.price, account)

    def _closing_call(self, prompt: list[BaseMessage], options: dict[str, Any], account: Account) -> Call:
        call = self._model_call(prompt, "divconq:solve", options, account)
        if not self.structured:
            return replace(call, quiet=False)
        return replace(
            call,
            model=structured(self.model, FinalAnswer, options) | RunnableLambda(_structured_message),
            quiet=False,
            options={},
            # The schema is part of the prompt, and a reply cut short would be no JSON: the budget does not hold it.
            estimate=replace(call.estimate, input_tokens=call.estimate.input_tokens + _SCHEMA_TOKENS, is_held=False),
        )


def unanswered(subquestions: Sequence[str]) -> list[Subanswer]:
    """Return subquestions as they stand before anyone was asked."""
    return [Subanswer(subquestion=subquestion, answer=None) for subquestion in subquestions]


def _structured_message(output: dict[str, Any]) -> AIMessage:
    """Return the model's message with the parsed answer in words; what could not be parsed stays as it was."""
    raw: AIMessage = output["raw"]
    if not isinstance(parsed := output.get("parsed"), FinalAnswer):  # a stream leaves out what could not be parsed
        return raw
    answer = " ".join(parsed.answer.split())
    return raw.model_copy(update={"content": f"{parsed.working}\n\n{ANSWER_MARKER} {answer}"})
