"""Decompose many questions at a temperature where the model alone writes nonsense, and check every plan.

python -m tests.benchmarks.stress [--questions 2000] [--temperature 1.5] [--engine NAME] [--output FILE]

The grammar is what holds: every reply must parse, keep to the cap and refer backwards only. Exits with 1 otherwise.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from langchain_divconq import ChatGGUF, Decomposer, DivConqError, __version__
from langchain_divconq.parsing import parse_plan
from langchain_divconq.types import references
from langchain_divconq.weights import default_adapter
from tests.benchmarks.questions import questions

SEED = 20


def main() -> int:
    """Run the check, print and save its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--engine", choices=["llama-cpp-python", "xllamacpp"])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    model = ChatGGUF(adapter_path=default_adapter(), temperature=arguments.temperature, engine=arguments.engine)
    failures: list[str] = []
    lengths: Counter[int] = Counter()
    seen: set[str] = set()
    referring = tokens = 0
    start = time.perf_counter()
    for number, question in enumerate(questions(arguments.questions, SEED)):
        decomposer = Decomposer(model=model.bind(seed=number))
        try:
            decomposition = decomposer.invoke(question)
            plan = parse_plan(decomposition.text)
        except DivConqError as error:
            failures.append(f"{number}: {error}")
            continue
        forward = [p for p, text in enumerate(plan, start=1) if any(not 1 <= n < p for n in references(text))]
        if len(plan) > decomposer.max_subquestions or forward:
            failures.append(f"{number}: {decomposition.text!r}")
        lengths[len(plan)] += 1
        referring += any(references(text) for text in plan)
        seen.add(decomposition.text)
        tokens += decomposition.usage.output_tokens
        if (number + 1) % 100 == 0:
            print(
                f"{number + 1} decomposed, {len(failures)} failed, {time.perf_counter() - start:.0f} s", file=sys.stderr
            )

    summary: dict[str, Any] = {
        "version": __version__,
        "engine": arguments.engine or "llama-cpp-python",
        "adapter": (default_adapter() or Path("none")).name,
        "temperature": arguments.temperature,
        "seed": SEED,
        "questions": arguments.questions,
        "failures": len(failures),
        "failed": failures[:20],
        "distinct_plans": len(seen),
        "plans_by_number_of_subquestions": {str(length): lengths[length] for length in sorted(lengths)},
        "plans_with_references": referring,
        "tokens": tokens,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
