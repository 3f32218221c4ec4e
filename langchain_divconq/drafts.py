"""Asks a decomposer's model for a plan, and reads the reply."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable

from langchain_divconq.calls import Call, Reply
from langchain_divconq.confidence import plan_features
from langchain_divconq.grammar import MAX_TOKENS, decomposition_grammar
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.plans import parse_plan
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Decomposition, Question
from langchain_divconq.usage import Price, StageUsage
from langchain_divconq.words import users_hashes

RUN_NAME = "divconq:plan"
"""The call's run in a trace, and its tag."""

_FIRST_SUBQUESTION = "1."
# Enough to see the sentinel's first token beside the plan's even where the model thinks little of either.
_TOP_LOGPROBS = 20
# How much the share of the question's words that a plan has, less the share of its own that are new, counts beside the
# mean log-probability of its tokens: chosen on held-out questions (training/LOG.md).
_CLOSENESS = 0.2
# What providers call the end of a reply, and an end at the token limit: OpenAI, Gemini; Anthropic; Bedrock; Ollama.
_END_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
_CUT = ("length", "max_tokens")
# A second sample: warm enough to differ, cool enough to be a plan.
_AGAIN = {"temperature": 0.7, "seed": 1}


@dataclass
class Draft:
    """How one question is put to a model, and what is known of its plan while it is made.

    Attributes:
        gguf: The `ChatGGUF` behind the model; None: it is another.
        llama_server: Whether it is a llama.cpp server, which takes a grammar in the body.
        num_beams: How many beginnings of a plan are followed side by side; 1: the likeliest token each time.
        is_shown_a_demonstration: Whether the prompt holds a worked example.
        options: Keyword arguments of each call.
        usage: What the calls used so far.
        message: The last reply.
        probability: The model's own, from 0 to 1, that no decomposition is needed.
    """

    question: Question
    model: Runnable[Any, Any]
    gguf: ChatGGUF | None
    llama_server: bool
    prompt: list[BaseMessage]
    max_subquestions: int
    num_beams: int
    is_shown_a_demonstration: bool
    options: Mapping[str, Any]
    price: Price | None
    usage: StageUsage = field(default_factory=StageUsage)
    message: AIMessage = field(default_factory=lambda: AIMessage(""))
    probability: float | None = None

    @property
    def has_grammar(self) -> bool:
        """Whether decoding is held to the grammar of a plan."""
        return self.gguf is not None or self.llama_server

    def call(self, *, allow_none: bool, again: bool = False) -> Call:
        """Return the call for a plan, or the word that none is needed (`allow_none`); `again`: one has been refused."""
        constraint: dict[str, Any] = {}
        if self.has_grammar:
            hashes = users_hashes(self.question.words)
            text = decomposition_grammar(self.max_subquestions, allow_none=allow_none, hashes=hashes)
            search: dict[str, Any] = {"grammar": text}
            if self.num_beams > 1:
                search["num_beams"] = self.num_beams
            constraint = {
                **(search if self.gguf is not None else {"extra_body": search}),
                "max_tokens": MAX_TOKENS * self.max_subquestions,
                "logprobs": True,
                "top_logprobs": _TOP_LOGPROBS,
                **(_AGAIN if again else {}),
            }
        return Call(self.model, self.prompt, RUN_NAME, options={**constraint, **self.options})

    def take(self, reply: Reply) -> tuple[str, ...]:
        """Count a reply, keep it, and return its subquestions, a cut line left out; no plan is a DecompositionError."""
        self.usage += StageUsage.of_call(reply.message, seconds=reply.seconds, price=self.price)
        self.message = message = closest(reply.message, self.question)
        text = str(message.text)
        if any(str(message.response_metadata.get(key)).lower() in _CUT for key in _END_KEYS):
            text = text[: text.rfind("\n") + 1]
        return parse_plan(text, self.question.words)

    def whole(self, reason: str) -> Decomposition:
        """Return the question undivided."""
        return self.divided((), None, reason)

    def divided(self, plan: tuple[str, ...], confidence: float | None, reason: str) -> Decomposition:
        """Return the question with its plan."""
        return Decomposition(
            question=self.question,
            subquestions=plan,
            no_decomposition_probability=self.probability,
            confidence=confidence,
            reason=reason,
            text=self.message.text,
            usage=self.usage,
        )


def closest(message: AIMessage, question: Question) -> AIMessage:
    """Return the reply that is likely and keeps to the question's words, of those that a beam search found.

    Without a search it is the message itself.
    """
    logprobs: Any = message.response_metadata.get("logprobs")
    try:
        found = [(_worth(beam, question), beam) for beam in logprobs["beams"]]
        _, best = max(found, key=lambda one: one[0])
        # All begin with the same token, whose alternatives tell what the model thinks of dividing.
        content = [logprobs["content"][0], *({"logprob": float(one)} for one in best["logprobs"][1:])]
        text = str(best["text"])
    except (LookupError, TypeError, ValueError):  # no search, or what was found is no plan
        return message
    metadata = {**message.response_metadata, "logprobs": {**logprobs, "content": content}}
    return message.model_copy(update={"content": text, "response_metadata": metadata})


def _worth(beam: Mapping[str, Any], question: Question) -> float:
    features = plan_features(question, parse_plan(beam["text"], question.words), None, ())
    return float(beam["score"]) + _CLOSENESS * (features["words_covered"] - features["words_new"])


def no_decomposition_probability(message: AIMessage) -> float | None:
    """Return how likely the model held the sentinel, from 0 to 1, against a plan; None without log-probabilities.

    Read from the first token: the probability of tokens that begin the sentinel, as a share of those that begin the
    sentinel or a plan. Log-probabilities are expected in the OpenAI shape, which `ChatGGUF` and `ChatOpenAI` both use;
    in another shape they count as none.
    """
    try:
        first = message.response_metadata["logprobs"]["content"][0]
        alternatives = [*(first.get("top_logprobs") or []), first]
        tokens = {alternative["token"]: alternative["logprob"] for alternative in alternatives}
        none, plan = (_mass(tokens, beginning) for beginning in (NO_DECOMPOSITION, _FIRST_SUBQUESTION))
    except (AttributeError, LookupError, TypeError):
        return None
    return none / (none + plan) if none + plan > 0 else None


def _mass(logprobs: Mapping[str, float], beginning: str) -> float:
    return sum(
        math.exp(logprob)
        for token, logprob in logprobs.items()
        if (start := token.strip()) and (beginning.startswith(start) or start.startswith(beginning))
    )
