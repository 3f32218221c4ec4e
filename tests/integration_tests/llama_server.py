"""llama.cpp's own OpenAI-compatible server, as a process of its own on a free loopback port.

python -m tests.integration_tests.llama_server MODEL.gguf     prints its address, serves until its input is closed
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_NAME = "smollm2-on-a-server"
API_KEY = "loopback-only"


@contextmanager
def running(model: Path) -> Iterator[str]:
    """Yield the address of a server that runs for as long as the context is open."""
    command = [sys.executable, "-m", "tests.integration_tests.llama_server", str(model)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield address
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def serve(model: str) -> None:
    """Serve until standard input is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {MODEL_NAME}
    params.api_keys = [API_KEY]
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # the decomposer runs beside it
    params.verbosity = -1
    params.warmup = params.ui = params.fit_params = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
