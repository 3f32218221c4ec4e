"""The ways to answer a question, the one that was asked for first, and which of them a budget allows."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from langchain_divconq.budget import Account, Cost, Estimate, prompt_tokens
from langchain_divconq.calls import Call
from langchain_divconq.errors import BudgetExceededError
from langchain_divconq.types import Mode, SingleStage, references
from langchain_divconq.unwrap import models
from langchain_divconq.usage import Price

logger = logging.getLogger(__name__)

REPLY_TOKENS = 1024
"""Most tokens of a reply where neither the model nor the call says, unless more is left than all calls need so."""

SHORTEST_REPLY = 64
"""Tokens that a reply without working needs at least."""

_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
"""What providers call the most tokens of a reply."""

_LIMITS_WITH_A_CALL = _LIMITS[:-1]  # ChatOllama has the field num_predict, and fails when it comes with a call


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


def waves(subquestions: Sequence[str]) -> list[list[int]]:
    """Return the subquestions' numbers grouped so that each needs answers from earlier groups alone."""
    depth: dict[int, int] = {}
    for number, subquestion in enumerate(subquestions, start=1):
        depth[number] = 1 + max((depth[needed] for needed in references(subquestion)), default=0)
    return [[n for n in depth if depth[n] == level] for level in range(1, max(depth.values()) + 1)]


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
    """Return the call with the most it may use, held to that where its model can be.

    Args:
        call: The call.
        messages: What its model reads.
        price: What the model costs.
        account: What pays for it; where it limits no replies, the call is returned as it is.
    """
    if not account.limits_replies:
        return call
    limit, is_held, names = _reply_limit(call.model, call.options)
    if not is_held and call.prompt is messages:  # what is given anything else may be no model at all
        _warn_of_unheld(_unheld(call.model, call.options))
    options = {**call.options, **dict.fromkeys(names, limit)}
    read = prompt_tokens(messages)
    most = _longest_reply(call.model, call.options, read)
    return replace(call, options=options, estimate=Estimate(read, limit, is_held, most, price))


def shortened(call: Call, account: Account) -> Call:
    """Return the call with its reply held to what the account pays for; the same where the model cannot be held."""
    most = call.estimate.output_tokens
    return _held(call, account.left, min(SHORTEST_REPLY, most), most)


def lengthened(call: Call, left: Cost) -> Call:
    """Return the call with as long a reply as `left` pays for; the same where the user or the model limits it."""
    least = call.estimate.output_tokens
    return _held(call, left, least, max(least, call.estimate.most_output_tokens))


def _held(call: Call, left: Cost, least: int, most: int) -> Call:
    estimate, names = call.estimate, [name for name in _LIMITS if name in call.options]
    if not (estimate.is_held and names):
        return call
    tokens = left.tokens - estimate.input_tokens
    if math.isfinite(left.dollars) and estimate.price is not None and estimate.price.output:
        prompt = replace(estimate, output_tokens=0).cost.dollars
        tokens = min(tokens, (left.dollars - prompt) * 1e6 / estimate.price.output)
    limit = max(least, int(min(tokens, most)))
    return replace(
        call,
        options={**call.options, **dict.fromkeys(names, limit)},
        estimate=replace(estimate, output_tokens=limit, most_output_tokens=0),
    )


def _reply_limit(model: Runnable[Any, Any], options: dict[str, Any]) -> tuple[int, bool, set[str]]:
    """Return the most tokens of a model's reply, whether it is held to them, and the keyword arguments that hold it.

    Args:
        model: A chat model, perhaps bound, configurable, given retries or fallbacks; of anything else nothing is known.
        options: Keyword arguments of its calls.
    """
    own = [_own_limit(*alternative) for alternative in models(model, options)]
    limits = [limit for limit, _ in own if limit is not None]
    # All alternatives get the same keyword arguments, and one that an alternative does not know may fail it.
    if names := set.intersection(*(names for _, names in own)):
        return min(limits, default=REPLY_TOKENS), True, names
    if len(limits) == len(own):
        return max(limits), True, names
    return max([*limits, REPLY_TOKENS]), False, names


def _longest_reply(model: Runnable[Any, Any], options: dict[str, Any], read: int) -> int:
    """Return how many tokens a model can write after those it reads; at most 0: not known, or the user limits it.

    A provider may refuse to be asked for more than that, so what is not known is not tried.
    """
    alternatives = list(models(model, options))
    if any(_own_limit(*alternative)[0] is not None for alternative in alternatives):
        return 0
    profiles: list[dict[str, int]] = [getattr(one, "profile", None) or {} for one, _ in alternatives]
    # Of some models the input is all that fits, the reply included.
    return min(min(known.get("max_output_tokens", 0), known.get("max_input_tokens", 0) - read) for known in profiles)


def _unheld(model: Runnable[Any, Any], options: dict[str, Any]) -> type:
    """Return the class of the alternative because of which the replies cannot be held."""
    own = [(type(one), *_own_limit(one, given)) for one, given in models(model, options)]
    return min(own, key=lambda known: (known[1] is not None, len(known[2])))[0]


def _own_limit(model: Runnable[Any, Any], options: dict[str, Any]) -> tuple[int | None, set[str]]:
    """Return what a model's replies are held to already, and the keyword arguments that hold them."""
    given = {name: options[name] for name in _LIMITS if _is_limit(options.get(name))}
    fields = [name for name in _LIMITS if isinstance(model, BaseChatModel) and name in type(model).model_fields]
    # What comes with the call takes the place of the field of that name, and may or may not of one of another name.
    own = [value for name in fields if name not in given and _is_limit(value := getattr(model, name))]
    names = set(given) or {name for name in fields[:1] if name in _LIMITS_WITH_A_CALL}
    return min([*given.values(), *own], default=None), names


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and value > 0


@cache  # once for each class
def _warn_of_unheld(model: type) -> None:
    logger.warning(
        "The budget cannot hold the replies of %s, so each may cost more than is left. Hold them yourself: bind "
        "max_tokens (Solver(model=model.bind(max_tokens=1024))), or set the limit it has (ChatOllama's num_predict).",
        model.__name__,
    )
