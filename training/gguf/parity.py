"""The gate between training and publication: how far artifacts may differ from the trained model.

`comparison.py` takes the figures. What fails names the step that broke.
"""

from dataclasses import asdict, dataclass
from typing import Any


class ParityError(ValueError):
    """What was exported does not say what was trained."""


@dataclass(frozen=True)
class Limits:
    """What an artifact may differ."""

    kl: float
    """Highest mean KL divergence of the next token, in nats; over the first places of replies, twice that."""
    same_token: float
    """Lowest share of places with the same likeliest token, as in `Artifact`."""
    parse_loss: float
    """Most that the parse rate may fall."""


LIMITS: dict[str, Limits] = {
    "base": Limits(kl=0.02, same_token=0.93, parse_loss=0.0),
    "adapter": Limits(kl=0.02, same_token=0.93, parse_loss=0.10),
    "F16": Limits(kl=0.005, same_token=0.97, parse_loss=0.10),
    "Q8_0": Limits(kl=0.02, same_token=0.93, parse_loss=0.10),
    "Q5_K_M": Limits(kl=0.05, same_token=0.85, parse_loss=0.15),
    "Q4_K_M": Limits(kl=0.15, same_token=0.80, parse_loss=0.20),
    "Q4_1": Limits(kl=0.15, same_token=0.80, parse_loss=0.20),
    "Q4_0": Limits(kl=0.20, same_token=0.75, parse_loss=0.25),
}
"""By artifact. On quantised weights llama.cpp rounds activations to 8 bits, and base and adapter are run so where the
base is quantised. Mean KL on the bundled base (Q4_1) with a random adapter, for scale: base and adapter 0.003, F16
0.00001, Q8_0 0.004, Q4_K_M 0.04, Q4_1 0.007."""

_STEPS = {
    "base": "base weights (the GGUF is not what the student was made from)",
    "adapter": "adapter export",
    "F16": "merge",
}


@dataclass(frozen=True)
class Artifact:
    """What llama.cpp says with one artifact, beside what was trained."""

    name: str
    """"base" (beside the untrained student), "adapter", "F16" or a quantisation."""
    kl: float
    """Mean KL divergence of the next token from the trained model, in nats, over all places of the replies."""
    kl_first: float
    """The same over the first places alone, which decide whether there is a plan."""
    kl_worst: float
    """The highest of any place."""
    same_token: float
    """Share of places with the same likeliest token, of those where the trained model clearly has one."""
    same_reply: float | None = None
    """Share of prompts with the same greedy reply, token by token; None: not asked for."""
    parse_rate: float | None = None
    """Share of greedy replies, held to no grammar, that can be read; None: not asked for."""


@dataclass(frozen=True)
class Parity:
    """All of the comparison."""

    prompts: int
    """How many held-out prompts were compared."""
    places: int
    """How many places of their reference replies, at which the next token is compared."""
    parse_rate: float
    """Of the trained model in Hugging Face."""
    other_tokens: dict[str, list[str]]
    """Artifact to the examples whose prompt llama.cpp reads as other tokens than training did."""
    artifacts: tuple[Artifact, ...]
    """Each one's figures."""

    def as_json(self) -> dict[str, Any]:
        """Return figures, limits and what failed, as they are saved."""
        limits = {one.name: asdict(LIMITS[one.name]) for one in self.artifacts}
        return {**asdict(self), "limits": limits, "failures": check(self)}


def check(parity: Parity) -> list[str]:
    """Return what is wrong: a sentence for each limit that is exceeded, naming the step that broke."""
    failures = [
        f"tokenizer or chat template of {name}: {len(ids)} of {parity.prompts} prompts have other token ids in "
        f"llama.cpp than in training ({ids[0]} is the first); all must be equal"
        for name, ids in parity.other_tokens.items()
        if ids
    ]
    for one in parity.artifacts:
        limits, step = LIMITS[one.name], _STEPS.get(one.name, f"quantisation {one.name}")
        # Written so that a figure that is no number fails.
        if not one.kl <= limits.kl:
            failures.append(f"{step}: mean KL {one.kl:.4f} nats, at most {limits.kl}")
        if not one.kl_first <= 2 * limits.kl:
            failures.append(f"{step}: mean KL at first tokens {one.kl_first:.4f} nats, at most {2 * limits.kl}")
        if not one.same_token >= limits.same_token:
            failures.append(f"{step}: {one.same_token:.1%} of likeliest tokens agree, at least {limits.same_token:.0%}")
        if one.parse_rate is not None and not parity.parse_rate - one.parse_rate <= limits.parse_loss:
            failures.append(
                f"{step}: {one.parse_rate:.0%} of replies can be read and {parity.parse_rate:.0%} of the trained "
                f"model's; at most {limits.parse_loss:.0%} may be lost"
            )
    return failures


def enforce(parity: Parity) -> None:
    """Do nothing if the artifacts say what was trained.

    Raises:
        ParityError: They do not; names each step that broke, with its figures.
    """
    if failures := check(parity):
        raise ParityError("What was exported does not say what was trained:\n  " + "\n  ".join(failures))
