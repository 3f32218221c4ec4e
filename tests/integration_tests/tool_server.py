"""A llama.cpp server whose model may call tools, as a process of its own on a free loopback port.

python -m tests.integration_tests.tool_server MODEL.gguf     prints its address, serves until its input is closed

A small model asked in its own template often writes the call as JSON but leaves out the marks around it, and the server
then takes it for text. The template here (ChatML) asks for nothing but the JSON, which the server reads, and holds
the model to where a call is required.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_NAME = "a-model-with-tools"
API_KEY = "loopback-only"

TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- 'These tools are at hand:\\n' }}
{%- for tool in tools %}{{- tool.function | tojson + '\\n' }}{%- endfor %}
{{- '\\nTo call one, write its name and arguments as one JSON object and nothing beside it:\\n' }}
{{- '{"name": <name>, "arguments": <object>}<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\nResult of the tool: ' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant' }}
{%- for call in message.tool_calls %}
{{- '\\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


@contextmanager
def running(model: Path) -> Iterator[str]:
    """Yield the address of a server that runs for as long as the context is open."""
    command = [sys.executable, "-m", "tests.integration_tests.tool_server", str(model)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield address
    finally:
        try:
            process.communicate(timeout=10)  # closes its input, which ends it
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def serve(model: str) -> None:
    """Serve until standard input is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {MODEL_NAME}
    params.api_keys = [API_KEY]
    params.chat_template = TEMPLATE
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # the decomposer runs beside it
    params.verbosity = -1
    params.warmup = params.ui = params.fit_params = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
