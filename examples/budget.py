"""Spend no more than this: two questions share a budget, and the chain steps down to cheaper ways to keep to it.

The embedded model answers; its tokens are counted as if they were a provider's, at the price below.
Usage: python examples/budget.py [PROVIDER:MODEL]
"""

import sys

from langchain_divconq import Budget, BudgetExceededError, ChatGGUF, DivideAndConquer, Price, Solution, Solver

if len(sys.argv) > 1:
    from langchain.chat_models import init_chat_model

    model = init_chat_model(sys.argv[1], max_tokens=500)
else:
    model = ChatGGUF(max_tokens=32)

# Dollars per million tokens, read and written.
solver = Solver(model=model, mode="sequential", price=Price(input=0.25, output=2.0))
chain = DivideAndConquer(solver=solver)
questions = [
    "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?",
    "A train leaves with 80 people. At the first stop 25 get off and 12 get on. How many are on it then?",
]

for dollars in (0.01, 0.0009, 0.00013):
    replies = chain.batch(questions, {"max_concurrency": 1}, budget=Budget(dollars=dollars), return_exceptions=True)
    print(f"${dollars}")
    for reply in replies:
        if isinstance(reply, BudgetExceededError):
            print(f"  refused: {reply}")
        else:
            solution = Solution.from_message(reply)
            print(f"  {solution.mode}, ${solution.usage.solve.dollars:.6f}: {solution.reason}")
