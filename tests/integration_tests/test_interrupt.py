"""Ctrl-C and the end of the process, in processes of their own."""

import os
import subprocess
import sys

import pytest

from langchain_divconq.llamacpp.engines.base import EngineName

SCRIPT = """
import os, signal, sys, threading, time
from langchain_divconq.llamacpp.chat_models import ChatGGUF

model = ChatGGUF(engine=sys.argv[1], n_ctx=1024, max_tokens=900)
model.invoke("Hi", max_tokens=1)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    model.invoke("Tell a very long story", grammar="root ::= [a-z ] root")
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 3, len(model.invoke("Hi", max_tokens=1).text) > 0)
stream = model.stream("Tell a very long story", grammar="root ::= [a-z ] root")
next(stream)
print("leaving")
"""


FORK = """
import os, sys, warnings
from langchain_divconq.llamacpp.chat_models import ChatGGUF

warnings.simplefilter("ignore")  # threads are there when it forks: that is the case to be tried
model = ChatGGUF(engine=sys.argv[1], n_ctx=256)
model.invoke("Hi", max_tokens=1)
child = os.fork()
if child == 0:
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(model.invoke("Hi", max_tokens=1).text) > 0)
"""
DAEMONS = """
import sys, threading, time
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.errors import GenerationCancelled

model = ChatGGUF(engine=sys.argv[1], n_ctx=1024)
model.invoke("Hi", max_tokens=1)

def generate():
    while True:
        try:
            model.invoke("Tell a story", max_tokens=900, grammar="root ::= [a-z ] root")
        except GenerationCancelled:
            return

for _ in range(4):
    threading.Thread(target=generate, daemon=True).start()
time.sleep(1)
print("leaving")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("script", "said"),
    [(SCRIPT, "interrupted True True\nleaving\n"), (FORK, "7 True\n"), (DAEMONS, "leaving\n")],
    ids=["Ctrl-C, then a stream", "a fork that leaves", "threads that generate at the end"],
)
def test_ctrl_c_a_fork_and_the_end_of_the_process_end_in_peace(engine_name: EngineName, script: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", script, engine_name], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
