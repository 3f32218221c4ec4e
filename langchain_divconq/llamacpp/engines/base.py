"""The interface between the library and llama.cpp: what an engine is asked, and what it reports.

An engine holds one loaded model (with its adapter, if any) and is safe to call from any thread. It knows tokens and
prompts, nothing of LangChain. `generate` blocks and reports each token to a callback; whoever needs an iterator, a
timeout or an event loop builds it on top of that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from langchain_divconq.llamacpp.engines.prompt import Prompt

EngineName = Literal["llama-cpp-python", "xllamacpp"]

CLOSED = "The engine was closed; load it again."
NO_PROMPT = "The prompt is empty; there is nothing to complete."
NO_NUMBERS = (
    "The model's probabilities are no numbers (NaN): its weights or its adapter are damaged. Get the weights again; "
    "try without the adapter."
)
NO_TEMPLATE = "The GGUF holds no chat template (tokenizer.chat_template), so it cannot be chatted with."


@dataclass(frozen=True)
class EngineSettings:
    """What is loaded, and how. Two equal settings share one loaded engine.

    Attributes:
        model_path: GGUF with the weights, tokenizer and chat template.
        adapter_path: LoRA adapter as GGUF, applied at scale 1; None: the bare model.
        n_ctx: Tokens of context for one conversation, prompt and reply together; 0: what the model was trained with.
        n_threads: Threads used for prompts and decoding.
        n_slots: Prompts whose processed state is kept, so that callers with different instructions do not evict each
            other.
        n_gpu_layers: Layers to offload where the engine was built for an accelerator; 0: none, -1: all.
    """

    model_path: Path
    adapter_path: Path | None = None
    n_ctx: int = 4096
    n_threads: int = 1
    n_slots: int = 2
    n_gpu_layers: int = 0


@dataclass(frozen=True)
class Request:
    """One completion.

    Attributes:
        prompt: The rendered prompt; in plain text every control token that is spelled out is one.
        max_tokens: Most tokens to generate; the reply also ends where the context is full.
        temperature: 0 takes the likeliest token each time.
        top_k: Keep the k likeliest tokens; 0: all.
        top_p: Keep the smallest set of tokens with this much probability; 1: all.
        seed: For sampling at a temperature above 0.
        num_beams: How many beginnings of the reply are followed side by side (beam search); 1: the likeliest token each
            time. All have the likeliest first token. At a temperature of 0, and by llama-cpp-python alone.
        grammar: GBNF with a rule named `root`; None: unconstrained.
        top_logprobs: How many alternatives to report for each token; None: report no probabilities at all.
    """

    prompt: str | Prompt
    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    num_beams: int = 1
    grammar: str | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A token and its natural-log probability under the model itself: no grammar, temperature or truncation."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        text: What it adds to the reply; empty while a character is still incomplete.
        logprob: With its own text as the vocabulary spells it, when `top_logprobs` was asked for.
        top_logprobs: The likeliest tokens in this place, likeliest first.
    """

    text: str
    logprob: TokenLogprob | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class FoundReply:
    """A whole reply that beam search came to.

    Attributes:
        text: What it says.
        score: The mean natural-log probability of its tokens, the one that ends it included.
        logprobs: Those of its tokens, without the one that ends it.
    """

    text: str
    score: float
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Completion:
    """How a generation ended.

    Attributes:
        finish_reason: "stop": the model ended its reply; "length": `max_tokens` or the context ran out; "cancelled":
            the callback asked for it.
        prompt_tokens: Tokens in the prompt, cached ones included.
        cached_tokens: Those of them whose state was at hand from an earlier call.
        completion_tokens: Tokens generated, the end-of-reply token not counted.
        found: The replies that beam search came to, the likeliest first: that one was reported. Empty: there was no
            search, or none of its replies ended.
    """

    finish_reason: Literal["stop", "length", "cancelled"]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    found: tuple[FoundReply, ...] = ()


OnToken = Callable[[Token], bool]
"""Called with each token as it is decoded; returning True stops the generation there."""


class Engine(Protocol):
    """One loaded model, with `n_ctx` tokens of context for one conversation. Any thread may call any method."""

    name: EngineName
    n_ctx: int

    def render(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        """Return the prompt for chat messages (`role`, `content`), by the model's own template, opening the reply.

        Control tokens that a message spells out stay text.

        Raises:
            EngineError: The model has no template, or its template refuses the messages.
        """
        ...

    def tokenize(self, text: str | Prompt, *, special: bool = True) -> list[int]:
        """Return token ids; `special`: as a prompt is read (BOS where the model wants it, special tokens parsed)."""
        ...

    def generate(self, request: Request, on_token: OnToken, is_cancelled: Callable[[], bool]) -> Completion:
        """Complete a prompt, token by token.

        `is_cancelled` is asked while waiting for the engine, while the prompt is processed, and before each token.

        Raises:
            ContextLengthError: The prompt leaves no room for a reply.
            GrammarError: llama.cpp refuses the grammar.
            EngineError: Anything else llama.cpp reports.
        """
        ...

    def close(self) -> None:
        """Free the model. Waits for a generation that is under way."""
        ...
