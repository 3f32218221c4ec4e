"""One machine decomposes for a team: `divconq serve` there, a `Decomposer` over ChatOpenAI here.

Usage: python examples/served_decomposer.py [URL]     (default: a server of its own, stopped at the end)
A URL is what `divconq serve` prints, such as http://127.0.0.1:8080/v1; its key, if it asks for one: DIVCONQ_API_KEY.
"""

import os
import subprocess
import sys

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_divconq import Decomposer
from langchain_divconq.llamacpp.weights import default_adapter

server = None
if len(sys.argv) > 1:
    url = sys.argv[1]
else:
    command = [sys.executable, "-m", "langchain_divconq.cli", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()

model = ChatOpenAI(base_url=url, api_key=SecretStr(os.environ.get("DIVCONQ_API_KEY", "none")))
# A student that was trained by this project's recipe is asked as it was taught; any other model, with a demonstration.
decomposer = Decomposer(model=model, llama_server=True, prompt_style="student" if default_adapter() else "one_shot")

try:
    decomposition = decomposer.invoke("Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?")
    for number, subquestion in enumerate(decomposition.subquestions, start=1):
        print(f"{number}. {subquestion}")
    print(f"needs no decomposition: {decomposition.no_decomposition_probability:.1%}")
finally:
    if server:
        server.terminate()
        server.communicate()
