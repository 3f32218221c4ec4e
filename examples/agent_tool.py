"""Two tools for an agent: one divides a question, the other answers it in two stages.

Usage: python examples/agent_tool.py [PROVIDER:MODEL]     (default: the embedded model; it calls no tools, so we do)
"""

import sys

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage, ToolCall

from langchain_divconq import ChatGGUF, DivideAndConquer
from langchain_divconq.agents import DecomposeTool, DivideAndConquerTool

question = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"
model = init_chat_model(sys.argv[1]) if sys.argv[1:] else ChatGGUF(max_tokens=96)
tools = [DecomposeTool(), DivideAndConquerTool(chain=DivideAndConquer(solver=model))]

if sys.argv[1:]:
    result = create_agent(model, tools).invoke({"messages": [HumanMessage(question)]})
    print(*(message.pretty_repr() for message in result["messages"]), sep="\n")
else:
    for tool in tools:
        message = tool.invoke(ToolCall(name=tool.name, args={"question": question}, id="1", type="tool_call"))
        print(message.pretty_repr(), type(message.artifact), sep="\n")
