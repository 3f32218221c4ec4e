"""An agent with a calculator that is shown a plan made on this machine before it is first asked.

Usage: python examples/agent_middleware.py [PROVIDER:MODEL]     (default: the embedded model, which calls no tools)
"""

import ast
import operator
import sys

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage

from langchain_divconq import ChatGGUF
from langchain_divconq.agents import DecompositionMiddleware

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp):
        return float(OPERATORS[type(node.op)](value(node.left), value(node.right)))
    return float(ast.literal_eval(node))  # a number, or an error: nothing is executed


def calculator(expression: str) -> str:
    """Work out an arithmetic expression: numbers, + - * / and parentheses."""
    try:
        return f"{value(ast.parse(expression, mode='eval').body):.12g}"
    except (ArithmeticError, LookupError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        return f"{expression!r} cannot be worked out: {error}"


model = init_chat_model(sys.argv[1], temperature=0) if sys.argv[1:] else ChatGGUF(max_tokens=96)
tools = [calculator] if sys.argv[1:] else []
prompt = "Never calculate yourself: call the calculator for every sum. Then say the answer in one sentence."
agent = create_agent(model, tools, system_prompt=prompt, middleware=[DecompositionMiddleware()])
question = HumanMessage("A baker fills 14 trays of 26 rolls and sells 3 boxes of 48. How many rolls are left?")
result = agent.invoke({"messages": [question]})
print(result["decomposition"], *(message.pretty_repr() for message in result["messages"]), sep="\n")
