"""The ways to answer a question, the one that was asked for first, and which of them a budget allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import RunnableConfigurableFields

from langchain_divconq.budget import Account, Cost, Estimate, prompt_tokens
from langchain_divconq.calls import Call
from langchain_divconq.errors import BudgetExceededError
from langchain_divconq.types import Mode, SingleStage
from langchain_divconq.usage import Price

REPLY_TOKENS = 1024
"""Most tokens of a reply where neither the model nor the call says."""

SHORTEST_REPLY = 64
"""Tokens that a reply without working needs at least."""


@dataclass(frozen=True)
class Rung:
    """One way to answer.

    Attributes:
        mode: Its mode.
        calls: The calls it makes, the closing one last, as far as they can be told beforehand.
        rounds: How many of them wait for one another.
        note: What to say of it when it is chosen.
    """

    mode: Mode | SingleStage
    calls: tuple[Call, ...]
    rounds: int = 1
    note: str = ""

    @property
    def cost(self) -> Cost:
        """The most it may cost."""
        return total_cost(self.calls)


def total_cost(calls: Iterable[Call]) -> Cost:
    """Return the most that calls may cost together."""
    return sum((call.estimate.cost for call in calls), Cost())


def choose(rungs: Iterable[Rung], account: Account) -> tuple[Rung, str]:
    """Return the first rung that the account pays for, and in words what is missing for the first of all.

    For the last and cheapest the account is raised, if the budget has so much left.

    Raises:
        BudgetExceededError: It pays for none.
    """
    cut = ""
    for rung in rungs:
        if not (shortage := account.shortage(rung.cost, rung.rounds)):
            return rung, cut
        cut = cut or f"the budget does not pay for {rung.mode}: {shortage}"
    account.claim(rung.cost)
    if shortage := account.shortage(rung.cost, rung.rounds):
        raise BudgetExceededError(
            f"The budget does not pay for the cheapest way to answer: {shortage} for this question. Raise the budget, "
            "hold the solver to shorter replies (its max_tokens), or ask fewer questions in one batch."
        )
    return rung, cut


def estimated(call: Call, messages: Sequence[BaseMessage], price: Price | None, account: Account) -> Call:
    """Return the call with the most it may use, held to that where its model takes `max_tokens`.

    Args:
        call: The call.
        messages: What its model reads.
        price: What the model costs.
        account: What pays for it; where it limits no replies, the call is returned as it is.
    """
    if not account.limits_replies:
        return call
    limit, is_held = _reply_limit(call.model, call.options)
    options = {**call.options, "max_tokens": limit} if is_held else call.options
    return replace(call, options=options, estimate=Estimate(prompt_tokens(messages), limit, is_held, price))


def shortened(call: Call, account: Account) -> Call:
    """Return the call with its reply held to what the account pays for; the same where the model cannot be held."""
    estimate = call.estimate
    if not estimate.is_held:
        return call
    tokens = account.left.tokens - estimate.input_tokens
    if account.limits_dollars and estimate.price is not None and estimate.price.output:
        prompt = replace(estimate, output_tokens=0).cost.dollars
        tokens = min(tokens, (account.left.dollars - prompt) * 1e6 / estimate.price.output)
    limit = min(estimate.output_tokens, max(SHORTEST_REPLY, int(min(tokens, estimate.output_tokens))))
    return replace(
        call,
        options={**call.options, "max_tokens": limit},
        estimate=replace(estimate, output_tokens=limit),
    )


def _reply_limit(model: Runnable[Any, Any], options: dict[str, Any]) -> tuple[int, bool]:
    """Return the most tokens of a model's reply, and whether it takes `max_tokens` with a call.

    Args:
        model: A chat model, perhaps bound, configurable or given retries; of anything else nothing is known.
        options: Keyword arguments of its calls.
    """
    given = options.get("max_tokens")
    while isinstance(model, (RunnableBindingBase, RunnableConfigurableFields)):
        if isinstance(model, RunnableBindingBase):
            given = given or model.kwargs.get("max_tokens")
            model = model.bound
        else:
            model = model.default
    takes = given is not None or (isinstance(model, BaseChatModel) and "max_tokens" in type(model).model_fields)
    limit = given or getattr(model, "max_tokens", None)
    return (limit if isinstance(limit, int) and limit > 0 else REPLY_TOKENS), takes
