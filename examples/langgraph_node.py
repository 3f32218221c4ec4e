"""The chain as a node of a LangGraph graph: the plan arrives first, then the answer word by word.

Usage: python examples/langgraph_node.py [PROVIDER:MODEL]     (default: the embedded model)
"""

import sys

from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langchain_divconq import ChatGGUF, DivideAndConquer
from langchain_divconq.agents import divide_and_conquer_node

solver = init_chat_model(sys.argv[1]) if sys.argv[1:] else ChatGGUF(max_tokens=96)
graph = StateGraph(MessagesState)
graph.add_node("answer", divide_and_conquer_node(DivideAndConquer(solver=solver)))
graph.add_edge(START, "answer")

question = "Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?"
asked: MessagesState = {"messages": [HumanMessage(question)]}
for part in graph.compile().stream(asked, stream_mode=["custom", "messages"], version="v2"):
    if part["type"] == "custom":
        print("Plan:", *part["data"]["divconq_decomposition"]["subquestions"], sep="\n- ")
    elif part["type"] == "messages":
        print(part["data"][0].text, end="", flush=True)
print()
