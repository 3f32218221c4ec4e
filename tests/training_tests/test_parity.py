"""Tests of the parity gate: its limits and its errors."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from training.config import Quantisation
from training.gguf.parity import LIMITS, Artifact, Parity, ParityError, check, enforce

GOOD = Artifact("F16", kl=0.0001, kl_first=0.0001, kl_worst=0.01, same_token=1.0, same_reply=1.0, parse_rate=0.9)


def parity(*artifacts: Artifact, other_tokens: dict[str, list[str]] | None = None) -> Parity:
    return Parity(10, 300, 0.9, {"F16": []} if other_tokens is None else other_tokens, artifacts)


def test_what_says_the_same_passes() -> None:
    base = replace(GOOD, name="base", same_reply=None, parse_rate=None)
    kinds = [replace(GOOD, name=name) for name in ("adapter", *get_args(Quantisation))]
    enforce(parity(base, *kinds))


@pytest.mark.parametrize(
    ("name", "change", "failure"),
    [
        ("F16", {"kl": 0.5}, r"merge: mean KL 0\.5000 nats, at most 0\.005"),
        ("F16", {"kl": float("nan")}, "merge: mean KL nan"),
        ("adapter", {"kl": 0.5}, "adapter export: mean KL"),
        ("base", {"kl": 0.5}, "base weights .*: mean KL"),
        ("Q4_K_M", {"kl": 0.5}, "quantisation Q4_K_M: mean KL"),
        ("F16", {"kl_first": 0.011}, r"merge: mean KL at first tokens 0\.0110 nats, at most 0\.01"),
        ("Q8_0", {"same_token": 0.8}, r"quantisation Q8_0: 80\.0% of likeliest tokens agree, at least 93%"),
        ("F16", {"parse_rate": 0.5}, "merge: 50% of replies can be read and 90% of the trained model's"),
    ],
)
def test_what_differs_is_named_with_its_step_and_figures(name: str, change: dict[str, Any], failure: str) -> None:
    compared = parity(GOOD, replace(GOOD, name=name, **change))
    assert len(check(compared)) == 1
    with pytest.raises(ParityError, match=failure):
        enforce(compared)


def test_other_token_ids_fail_whatever_the_figures() -> None:
    compared = parity(GOOD, other_tokens={"adapter": [], "F16": ["s/3", "s/9"]})
    with pytest.raises(ParityError, match=r"template of F16: 2 of 10 prompts have other token ids.*s/3 is the first"):
        enforce(compared)


def test_limits_grow_with_what_a_step_takes_away() -> None:
    kinds: tuple[Quantisation, ...] = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0")
    assert sorted(kinds, key=lambda name: LIMITS[name].kl) == list(kinds)
    assert LIMITS.keys() == {"base", "adapter", *get_args(Quantisation)}


def test_a_saved_comparison_is_judged_again_alike() -> None:
    compared = parity(replace(GOOD, kl=0.5))
    saved = json.loads(json.dumps(compared.as_json()))
    assert saved["limits"] == {"F16": {"kl": 0.005, "same_token": 0.97, "parse_loss": 0.1}}
    assert saved["failures"] == check(compared)
    assert TypeAdapter(Parity).validate_python(saved) == compared
