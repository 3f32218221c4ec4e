"""The models that teach and screen, by the name a config gives them, and what asking them will cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.prompts import closing_prompt, fused_prompt, single_stage_prompt, subquestion_prompt
from langchain_divconq.types import Mode, Question, SingleStage, Subanswer
from langchain_divconq.unwrap import named_model
from langchain_divconq.usage import Price
from training.config import ROOT

RECORDED = "recorded"
"""The name of no model: what the datasets record is taken."""

BUNDLED = "gguf:bundled"

_CHARACTERS_PER_TOKEN = 4  # English, as the tokenizers in use divide it; off by a fifth or so
_MESSAGE_TOKENS = 5  # what a chat template puts around a message


def load_teacher(name: str, **options: Any) -> BaseChatModel:
    """Return the chat model of a name.

    Args:
        name: "gguf:PATH" (a relative path counts from the checkout's root), "gguf:bundled" (the library's default
            weights), or a name that `init_chat_model` takes.
        options: Keyword arguments of the chat model.

    Raises:
        ValueError: There is no such file, or the model cannot be set up: no package, no key, no such name or option.
    """
    provider, _, rest = name.partition(":")
    if name == BUNDLED:
        return ChatGGUF(**options)
    if provider == "gguf":
        path = ROOT / Path(rest).expanduser()
        if not path.is_file():
            raise ValueError(f'{name} names no file: there is no {path}. Expected "gguf:PATH/TO/MODEL.gguf".')
        return ChatGGUF(model_path=path, **options)
    model: BaseChatModel = named_model("model", name, **options)
    return model


@dataclass(frozen=True)
class Preview:
    """What some requests will take, estimated before the first."""

    requests: int
    """How many."""
    input_tokens: int
    """From the prompts' lengths."""
    output_tokens: int
    """From the length of an expected reply, thinking not counted."""
    dollars: float | None
    """At the prices given; None: there are none."""

    def render(self, name: str) -> str:
        """Return the preview in words."""
        cost = "no price is configured" if self.dollars is None else f"about ${self.dollars:,.2f}, thinking not counted"
        return (
            f"{name}: {self.requests:,} requests, about {self.input_tokens:,} tokens in and "
            f"{self.output_tokens:,} out: {cost}"
        )


def preview(prompts: Iterable[Sequence[BaseMessage]], reply_tokens: int, price: Price | None = None) -> Preview:
    """Return what it will take to send these prompts."""
    requests = input_tokens = 0
    for prompt in prompts:
        requests += 1
        input_tokens += sum(_MESSAGE_TOKENS + len(message.text) // _CHARACTERS_PER_TOKEN for message in prompt)
    output_tokens = requests * reply_tokens
    dollars = None
    if price is not None:
        dollars = price.cost(input_tokens=input_tokens, cached_tokens=0, output_tokens=output_tokens)
    return Preview(requests, input_tokens, output_tokens, dollars)


def solver_prompts(
    question: Question, subquestions: Sequence[str], mode: Mode | SingleStage
) -> Iterator[list[BaseMessage]]:
    """Yield the prompts a solver gets for one question, those of later calls with no answers in them yet."""
    if mode == "direct" or not subquestions:
        yield single_stage_prompt(question, "direct" if mode == "direct" else "step_by_step")
    elif mode == "fused":
        yield fused_prompt(question, subquestions)
    else:
        asked = [Subanswer(subquestion=subquestion, answer=None) for subquestion in subquestions]
        for at, subquestion in enumerate(subquestions):
            yield subquestion_prompt(question, subquestion, asked[:at] if mode == "sequential" else [])
        yield closing_prompt(question, asked)
