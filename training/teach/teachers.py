"""The models that teach and screen, by the name a config gives them, and what asking them will cost."""

from collections.abc import Iterable, Iterator, Sequence
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
    if name == "gguf:bundled":
        return ChatGGUF(**options)
    if provider == "gguf":
        path = ROOT / Path(rest).expanduser()
        if not path.is_file():
            raise ValueError(f'{name} names no file: there is no {path}. Expected "gguf:PATH/TO/MODEL.gguf".')
        return ChatGGUF(model_path=path, **options)
    model: BaseChatModel = named_model("model", name, **options)
    return model


def preview(name: str, prompts: Iterable[Sequence[BaseMessage]], reply_tokens: int, price: Price | None = None) -> str:
    """Return in words what it will take to send these prompts to a model, replies expected to be so long."""
    requests = read = 0
    for prompt in prompts:
        requests += 1
        read += sum(_MESSAGE_TOKENS + len(message.text) // _CHARACTERS_PER_TOKEN for message in prompt)
    written, cost = requests * reply_tokens, "no price is configured"
    if price is not None:
        dollars = price.cost(input_tokens=read, cached_tokens=0, output_tokens=written)
        cost = f"about ${dollars:,.2f}, thinking not counted"
    return f"{name}: {requests:,} requests, about {read:,} tokens in and {written:,} out: {cost}"


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
