"""One set of questions under shrinking budgets: cost, mode chosen, accuracy.

Usage: python -m tests.benchmarks.budgets [--model SOLVER.gguf]     (default: the embedded model)

Prints a table and writes tests/benchmarks/results/budgets.json. Plans are made once, by the default decomposer, and are
the same under every budget. A quarter of an hour on two cores with a solver of 1.5 B parameters.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableLambda

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer, Price, Question, Solution, Solver, Usage
from langchain_divconq.budget import Budget
from langchain_divconq.errors import BudgetExceededError
from tests.benchmarks.engines import RESULTS

TOKENS_A_QUESTION = (None, 800, 500, 250)
"""The budgets: so many tokens for each question, shared by all; None: no limit."""

REPLY_TOKENS = 256
MAX_SUBQUESTIONS = 2
PRICE = Price(input=0.25, output=2.0)
"""What the tokens would cost at a provider, in dollars per million: the solver itself runs on this machine."""

ANSWERED = (
    ("Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?", 29),
    ("A shop sells 4 hats at 15 dollars each and 2 scarves at 9 dollars each. How many dollars does it take?", 78),
    ("A train leaves with 80 people. At the first stop 25 get off and 12 get on. How many are on it then?", 67),
    ("Leo reads 20 pages a day for 6 days. The book has 150 pages. How many pages are left?", 30),
    ("A tank holds 90 litres. A third of it is used, then 10 litres are added. How many litres are in it?", 70),
    ("Ana is 8. Her brother is twice as old, and her father is 20 years older than her brother. How old is he?", 36),
    ("A garden has 5 rows of 9 tulips. Rabbits eat 13 tulips. How many tulips are left?", 32),
    ("Tickets cost 12 euros for adults and 7 for children. What do 2 adults and 3 children pay in euros?", 45),
    ("A baker makes 60 rolls and sells half of them, then 8 more. How many rolls are left?", 22),
    ("Ben saves 15 dollars a week for 4 weeks and then spends 24 dollars. How many dollars has he left?", 36),
)


def is_right(answer: str | None, expected: int) -> bool:
    """Return whether the last number of an answer is the expected one."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", (answer or "").replace(",", ""))
    return bool(numbers) and float(numbers[-1]) == expected


def run(chain: DivideAndConquer, tokens: int | None) -> dict[str, Any]:
    """Ask all questions within one budget, and return a row of the table."""
    budget = None if tokens is None else Budget(tokens=tokens * len(ANSWERED))
    results: list[Any] = chain.batch(
        [question for question, _ in ANSWERED], {"max_concurrency": 1}, budget=budget, return_exceptions=True
    )
    modes: Counter[str] = Counter()
    usage, right = Usage(), 0
    for result, (_, expected) in zip(results, ANSWERED, strict=True):
        if isinstance(result, BudgetExceededError):
            modes["refused"] += 1
        elif isinstance(result, Exception):
            raise result
        else:
            solution = Solution.from_message(result)
            modes[solution.mode] += 1
            usage += solution.usage
            right += is_right(solution.answer, expected)
    return {
        "budget_tokens": None if budget is None else budget.tokens,
        "tokens": usage.solve.input_tokens + usage.solve.output_tokens,
        "dollars": usage.solve.dollars or 0.0,
        "solver_calls": usage.solve.calls,
        "modes": dict(modes),
        "right": right,
        "questions": len(ANSWERED),
    }


def main(arguments: list[str]) -> int:
    """Run every budget; print and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.budgets", description=__doc__)
    parser.add_argument("--model", type=Path, help="the solver's GGUF (default: the embedded model)")
    model = ChatGGUF(model_path=parser.parse_args(arguments).model, n_ctx=2048, max_tokens=REPLY_TOKENS)
    decomposer = Decomposer(max_subquestions=MAX_SUBQUESTIONS)
    plans = {question: decomposer.invoke(question) for question, _ in ANSWERED}

    def planned(question: Question) -> Any:
        return plans[question.text]

    chain = DivideAndConquer(
        solver=Solver(model=model, mode="sequential", price=PRICE), decomposer=RunnableLambda(planned)
    )
    rows = []
    print("budget | tokens used | dollars | right | modes")
    for tokens in TOKENS_A_QUESTION:
        rows.append(row := run(chain, tokens))
        modes = ", ".join(f"{mode} {count}" for mode, count in row["modes"].items())
        limit = "none" if row["budget_tokens"] is None else f"{row['budget_tokens']:,}"
        right = f"{row['right']}/{row['questions']}"
        print(f"{limit} | {row['tokens']:,} | {row['dollars']:.5f} | {right} | {modes}", flush=True)
    record = {
        "solver": model._names()["model_name"],
        "price": PRICE.model_dump(),
        "reply_tokens": REPLY_TOKENS,
        "divided": sum(bool(plan.subquestions) for plan in plans.values()),
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "budgets.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
