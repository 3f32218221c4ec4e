"""What an arm's records depend on, as settings.json keeps it: a changed setting is refused, never mixed in."""

from __future__ import annotations

from typing import Any

from langchain_divconq.prompts import PROMPT_VERSION
from langchain_divconq.usage import Price
from training.arms.config import DecomposerOptions
from training.arms.corpus import SOURCE
from training.arms.readers import REWRITE_VERSION
from training.arms.retrieval_config import REFERENCE, REWRITE, RetrievalArm, RetrievalConfig, parse_arm
from training.arms.search import retriever_weights
from training.arms.solvers import decomposer_settings, decomposer_weights, solver_settings, solver_weights

SEARCH_VERSION = "2"
"""Changes with what the library's retriever searches for and how it shares the budget."""


def shared_settings(config: RetrievalConfig, documents: int, fingerprint: str) -> dict[str, Any]:
    """Return what all arms depend on, in JSON's types.

    Args:
        config: What is measured.
        documents: How many there are to search.
        fingerprint: A mark of them.
    """
    return {
        "name": config.name,
        "kind": "retrieval",
        "seed": config.seed,
        "prompt_version": PROMPT_VERSION,
        "search_version": SEARCH_VERSION,
        "retriever": config.retriever,
        "budgets": list(config.budgets),
        "k": config.k,
        **({"retriever_weights": weights} if (weights := retriever_weights(config)) else {}),
        "corpus": {"documents": documents, "fingerprint": fingerprint},
    }


def arm_settings(config: RetrievalConfig, arm: RetrievalArm) -> dict[str, Any]:
    """Return what an arm depends on besides, in JSON's types; no key is among it."""
    if arm.answered is not None:
        searched = arm_settings(config, parse_arm(arm.answered))
        return {
            **_solver(config),
            "mode": "direct",
            "source": SOURCE,
            "answer_k": config.answer_k,
            "n": min(config.answer_limit, config.limit),
            "retrieval": {"arm": arm.answered, **{name: searched[name] for name in searched if name != "prices"}},
            "prices": {**searched["prices"], **_prices(solver=config.solver.price if config.solver else None)},
        }
    settings: dict[str, Any] = {"mode": arm.fill or arm.name, "source": SOURCE}
    weights: dict[str, str] = {}
    prices: dict[str, Any] = {}
    if arm.decomposer == REFERENCE:
        settings["decomposer"] = {"name": REFERENCE}
    elif arm.decomposer is not None:
        options = config.decomposers[arm.decomposer]
        settings["decomposer"] = decomposer_settings(arm.decomposer, options)
        weights |= decomposer_weights(options)
        prices |= _prices(decomposer=options.price)
    if arm.name == REWRITE:
        settings["rewrite_version"] = REWRITE_VERSION
    if arm.fill == "sequential":
        settings["read_k"] = config.read_k
    if arm.needs_solver and config.solver is not None:
        solver = _solver(config)
        settings["solver"] = solver["solver"]
        weights |= solver["weights"]
        prices |= _prices(solver=config.solver.price)
    return {**settings, "weights": weights, "prices": prices}


def plan_settings(name: str, options: DecomposerOptions) -> dict[str, Any]:
    """Return what a decomposer's plans depend on, in JSON's types."""
    return {
        "decomposer": decomposer_settings(name, options),
        "weights": decomposer_weights(options),
        "prompt_version": PROMPT_VERSION,
    }


def _solver(config: RetrievalConfig) -> dict[str, Any]:
    if config.solver is None:
        return {"solver": None, "weights": {}}
    return {"solver": solver_settings("solver", config.solver), "weights": solver_weights(config.solver)}


def _prices(**prices: Price | None) -> dict[str, Any]:
    return {name: price.model_dump(exclude_none=True) for name, price in prices.items() if price is not None}
