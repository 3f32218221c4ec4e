"""Ctrl-C and the end of the process, in processes of their own."""

import subprocess
import sys

from langchain_divconq.engines.base import EngineName

SCRIPT = """
import os, signal, sys, threading, time
from langchain_divconq.chat_models import ChatGGUF

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


def test_ctrl_c_ends_a_reply_and_leaving_ends_a_stream_quietly(engine_name: EngineName) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, engine_name], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted True True\nleaving\n", "")
