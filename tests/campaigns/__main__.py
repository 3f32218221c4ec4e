"""`python -m tests.campaigns NAME --count N --seed S [--engine NAME] [--save]`."""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from langchain_divconq import __version__
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.campaigns.report import Report

FOLDER = Path(__file__).parent
_SHARED = {"__init__", "__main__", "children", "report"}


def names() -> list[str]:
    """Return the names of the campaigns there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in _SHARED)


def load(name: str) -> Callable[[int, int], Report]:
    """Return a campaign: from a count and a seed to its report."""
    run: Callable[[int, int], Report] = importlib.import_module(f"tests.campaigns.{name}").run
    return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns")
    parser.add_argument("name", choices=names())
    parser.add_argument("--count", type=int, default=100, help="cases (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the cases follow from it (%(default)s)")
    parser.add_argument("--engine", choices=get_args(EngineName), help="default: each of them in turn")
    parser.add_argument("--save", action="store_true", help="write results/NAME.json, or NAME-ENGINE.json")
    args = parser.parse_args()
    if args.engine is not None:
        os.environ["DIVCONQ_TEST_ENGINE"] = args.engine  # children see it too
    start = time.monotonic()
    report = load(args.name)(args.count, args.seed)
    result = {
        "campaign": args.name,
        "count": args.count,
        "seed": args.seed,
        "version": __version__,
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - start),
        **report.as_json(),
    }
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    if args.save:
        name = args.name if args.engine is None else f"{args.name}-{args.engine}"
        (FOLDER / "results" / f"{name}.json").write_text(text, encoding="utf-8")
    return 1 if report.failures or report.cases < args.count else 0


if __name__ == "__main__":
    sys.exit(main())
