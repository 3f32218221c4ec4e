"""llama.cpp's own OpenAI-compatible server, as a process of its own on a free loopback port.

python -m tests.integration_tests.llama_server MODEL.gguf [TEMPLATE.jinja]     prints its address, serves until its
                                                                                input is closed
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_NAME = "smollm2-on-a-server"
API_KEY = "loopback-only"
TOOLS = Path(__file__).with_name("tools.jinja")
"""A chat template for a small model with tools.

Asked in its own, it often writes the call as JSON but leaves out the marks around it, and the server then takes it for
text. This one (ChatML) asks for nothing but the JSON, which the server reads, and holds the model to where a call is
required.
"""


@contextmanager
def running(model: Path, *template: Path) -> Iterator[str]:
    """Yield the address of a server that runs for as long as the context is open."""
    command = [sys.executable, "-m", "tests.integration_tests.llama_server", *map(str, (model, *template))]
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


def serve(model: str, template: str | None = None) -> None:
    """Serve until standard input is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {MODEL_NAME}
    params.api_keys = [API_KEY]
    if template is not None:
        params.chat_template = Path(template).read_text(encoding="utf-8")
    params.n_ctx = 8192  # halved between two slots
    params.n_parallel = 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # the decomposer runs beside it
    params.verbosity = -1
    params.warmup = params.ui = params.fit_params = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(*sys.argv[1:])
