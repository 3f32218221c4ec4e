"""The report of a campaign: how many cases ended how, and each one that failed."""

import importlib.util
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

from langchain_divconq.llamacpp.engines.base import EngineName

_MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp"}
_MOST_SHOWN = 50


@dataclass
class Report:
    """Outcomes, counted, and failures, kept with what is needed to see them again.

    Attributes:
        outcomes: How many cases ended in each way, in words: "loads", "refused", "died of SIGABRT".
        failures: For each failed case its number, the input in words, and what happened.
        settings: What else the numbers depend on, such as the engine.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def passed(self, outcome: str) -> None:
        """Count a case that ended as it should."""
        self.outcomes[outcome] += 1

    def failed(self, case: int, given: str, what: str, *, outcome: str | None = None) -> None:
        """Count a case that did not, under `outcome` (default: what happened)."""
        self.outcomes[outcome or what] += 1
        self.failures.append({"case": case, "input": given, "what": what})

    @property
    def cases(self) -> int:
        """How many cases ran."""
        return self.outcomes.total()

    def as_json(self) -> dict[str, Any]:
        """Return the report as it is written to disk."""
        return {
            **self.settings,
            "cases": self.cases,
            "failed": len(self.failures),
            "outcomes": dict(sorted(self.outcomes.items())),
            "failures": self.failures[:_MOST_SHOWN],
        }


def engines() -> list[EngineName]:
    """Return the engines to try: the one that --engine names, or both.

    Raises:
        SystemExit: One of them is not installed.
    """
    only = os.environ.get("DIVCONQ_TEST_ENGINE")
    names: list[EngineName] = [name for name in get_args(EngineName) if only in (None, name)]
    missing = [name for name in names if importlib.util.find_spec(_MODULES[name]) is None]
    if missing or not names:
        raise SystemExit(f"not installed: {', '.join(missing) or only}; `make test` installs both engines")
    return names
