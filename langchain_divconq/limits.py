"""Token limits of a call: the most its prompt can have, and what its reply is held to."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from langchain_divconq.calls import Call
from langchain_divconq.unwrap import models

logger = logging.getLogger(__name__)

REPLY_TOKENS = 1024
"""Most tokens of a reply, under a budget, where neither the model nor the call says."""

SHORT_REPLY_TOKENS = 64
"""Most tokens of a reply without working, where a budget pays for no more."""

# What a chat template puts around a message, and before them all (some bring a system message of their own).
_TOKENS_AROUND_A_MESSAGE = 16
_TOKENS_AROUND_A_CHAT = 64

_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
"""What providers call the most tokens of a reply."""

_NAMES_WITH_A_CALL = _NAMES[:-1]  # ChatOllama has the field num_predict, and fails when it comes with a call

_warned: dict[type, object] = {}


@dataclass(frozen=True)
class Held:
    """A call, with the keyword arguments that hold its reply, and the most tokens its prompt and reply may have.

    It is held where the model is told to write no more than that.
    """

    call: Call
    input_tokens: int = 0
    output_tokens: int = 0
    is_held: bool = False


def hold(call: Call) -> Held:
    """Return the call with the most it may use, its reply held to that where the model can be."""
    known = [(model, *_own_limit(model, options)) for model, options in models(call.model, call.options)]
    limits = [limit for _, limit, _ in known if limit is not None]
    # All models that may answer get the same keyword arguments, and one that a model does not know may fail it.
    names = set.intersection(*(names for _, _, names in known))
    if names:
        limit, is_held = min(limits, default=REPLY_TOKENS), True
        limit = min(limit, SHORT_REPLY_TOKENS) if call.is_short else limit
    elif len(limits) == len(known):
        limit, is_held = max(limits), True
    else:
        limit, is_held = max([*limits, REPLY_TOKENS]), False
        # What is given anything but messages may be no model at all.
        if isinstance(call.prompt, list):
            _warn_of_unheld(type(min(known, key=lambda one: (one[1] is not None, len(one[2])))[0]))
    held = replace(call, options={**call.options, **dict.fromkeys(names, limit)})
    return Held(held, prompt_tokens(call), limit, is_held)


def prompt_tokens(call: Call) -> int:
    """Return the most tokens that a prompt can have, whatever the model's tokenizer: one a byte, and the template's.

    What a message refers to without holding it, such as a picture's address, is not counted.
    """
    prompt = call.prompt["messages"] if isinstance(call.prompt, dict) else call.prompt
    messages: Iterable[Any] = [prompt] if isinstance(prompt, str) else prompt
    return _TOKENS_AROUND_A_CHAT + call.schema_tokens + sum(map(_message_tokens, messages))


def most_tokens(text: str) -> int:
    """Return the most tokens that a text can have: one a byte."""
    return len(text.encode(errors="surrogatepass"))


def _message_tokens(message: BaseMessage | str) -> int:
    if isinstance(message, str):
        return most_tokens(message)
    calls = getattr(message, "tool_calls", None) or ""
    return _TOKENS_AROUND_A_MESSAGE + most_tokens(f"{message.content}{calls}")


def _own_limit(model: Any, options: dict[str, Any]) -> tuple[int | None, set[str]]:
    """Return what a model's replies are held to already, and the keyword arguments that hold them."""
    given = {name: options[name] for name in _NAMES if _is_limit(options.get(name))}
    fields = [name for name in _NAMES if isinstance(model, BaseChatModel) and name in type(model).model_fields]
    # What comes with the call takes the place of the field of that name, and may or may not of one of another name.
    own = [value for name in fields if name not in given and _is_limit(value := getattr(model, name))]
    names = set(given) or {name for name in fields[:1] if name in _NAMES_WITH_A_CALL}
    return min([*given.values(), *own], default=None), names


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _warn_of_unheld(model: type) -> None:
    """Say once for each class that the budget may be exceeded."""
    mark = object()
    if _warned.setdefault(model, mark) is mark:  # of several threads, one puts it there
        logger.warning(
            "The budget cannot hold the replies of %s, so each may cost more than is left. Hold them yourself: bind "
            "max_tokens (Solver(model=model.bind(max_tokens=1024))), or set the limit it has (ChatOllama's "
            "num_predict).",
            model.__name__,
        )
