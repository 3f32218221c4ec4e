"""Ask a question in two stages: divided on this machine, answered by a chat model of your choice.

Without a name the embedded 135M model answers too: that needs no key, and shows the plumbing, not the quality.
Usage: python examples/quickstart.py [PROVIDER:MODEL]
"""

import sys

from langchain_divconq import ChatGGUF, DivideAndConquer, Solution

if len(sys.argv) > 1:
    from langchain.chat_models import init_chat_model

    solver = init_chat_model(sys.argv[1])
else:
    solver = ChatGGUF()

chain = DivideAndConquer(solver=solver)
question = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"

for chunk in chain.stream(question):
    print(chunk.text, end="", flush=True)
print()

solution = Solution.from_message(chunk)  # the last chunk carries it
for number, subquestion in enumerate(solution.subquestions, start=1):
    print(f"{number}. {subquestion}")
print(f"Answer: {solution.answer} ({solution.mode}: {solution.reason})")
print(f"Decomposer: {solution.usage.decompose.output_tokens} tokens, {solution.usage.decompose.seconds:.2f} s")
print(f"Solver: {solution.usage.solve.output_tokens} tokens, {solution.usage.solve.seconds:.2f} s")
