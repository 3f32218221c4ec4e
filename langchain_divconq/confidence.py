"""A plan's confidence: a logistic function of cheap features, and the card of a shipped student.

The coefficients stand in a card beside the adapter (`NAME.json` beside `NAME.gguf`), where `python -m training
calibrate` puts them; it computes its features here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_divconq.errors import InvalidWeightsError
from langchain_divconq.types import Question, references
from langchain_divconq.words import content_words, covered, names, stems, words

_LOWEST_LOGPROB = -5.0


@dataclass(frozen=True)
class Calibration:
    """A logistic function of a plan's features: log-odds where each is 0, and what one unit of each adds to them."""

    intercept: float
    weights: Mapping[str, float]

    def confidence(self, features: Mapping[str, float]) -> float:
        """Return the probability that a plan is good, from 0 to 1; a feature without a weight counts for nothing."""
        odds = self.intercept + sum(weight * features[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, odds))))


@dataclass(frozen=True)
class StudentCard:
    """What is known of a student beside its weights.

    Attributes:
        languages: The languages it was taught, as in "en"; questions in others stay whole.
        calibration: How its plans' confidence is computed; None: it has none.
    """

    languages: tuple[str, ...] = ("en",)
    calibration: Calibration | None = field(default=None)


@lru_cache(maxsize=8)
def load_card(adapter: Path) -> StudentCard:
    """Return the card beside an adapter, or raise InvalidWeightsError; without one, that of a student of English."""
    path = adapter.with_suffix(".json")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        calibration = card.get("confidence")
        if calibration is not None:
            weights = {str(name): float(weight) for name, weight in calibration["weights"].items()}
            if unknown := sorted(set(weights) - set(FEATURES)):
                raise ValueError(f"it weighs unknown features: {', '.join(unknown)}")
            calibration = Calibration(float(calibration["intercept"]), weights)
        return StudentCard(tuple(card.get("languages", ("en",))), calibration)
    except FileNotFoundError:
        return StudentCard()
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise InvalidWeightsError(f"The card {path} cannot be read: {error}. Install the package again.") from error


def plan_features(
    question: Question, plan: Sequence[str], probability: float | None, logprobs: Sequence[float]
) -> dict[str, float]:
    """Return what a plan's confidence is computed from, by the names in `FEATURES`.

    Log-probabilities are natural, and none count as certain; no `probability` counts as 0. No plan is empty.
    """
    written = stems("\n".join(plan))
    known = {word[:5] for word in words(question.words)}
    wanted = [name.casefold()[:5] for name in names(question.text)]
    text = "\n".join(plan).casefold()
    edges = [references(subquestion, question.words) for subquestion in plan]
    used = {number for numbers in edges for number in numbers}
    return {
        "none_probability": probability or 0.0,
        "mean_logprob": max(_LOWEST_LOGPROB, sum(logprobs) / len(logprobs)) if logprobs else 0.0,
        "lowest_logprob": max(_LOWEST_LOGPROB, min(logprobs)) if logprobs else 0.0,
        "words_covered": covered(question.text, plan),
        "words_new": len(written - known) / max(1, len(written)),
        "names_covered": sum(name in text for name in wanted) / len(wanted) if wanted else 1.0,
        "subquestions": float(len(plan)),
        "references": sum(map(len, edges)) / max(1, len(plan) - 1),
        "unused": (len(plan) - 1 - len(used - {len(plan)})) / max(1, len(plan) - 1),
        "question_words": math.log1p(len(content_words(question.text))),
        "has_context": float(question.context is not None),
    }


FEATURES = tuple(plan_features(Question(text="Who?"), ("Who?",), None, ()))
"""The names of the features, in the order of `plan_features`."""


def token_logprobs(message: BaseMessage) -> list[float]:
    """Return the log-probabilities of a reply's tokens, in the OpenAI shape; none where there are none in it."""
    try:
        content: Any = message.response_metadata["logprobs"]["content"]
        return [float(token["logprob"]) for token in content]
    except (AttributeError, LookupError, TypeError, ValueError):
        return []
