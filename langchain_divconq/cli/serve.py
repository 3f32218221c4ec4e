"""What `divconq serve` does: one machine's decomposer for a team, over llama.cpp's own OpenAI-compatible server.

The server is the one that the engine over xllamacpp runs inside a process, with the same settings, so a decomposition
is the same whether it was asked for here or there.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import socket
import time
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from langchain_divconq.cli.console import note, show
from langchain_divconq.engines import default_threads
from langchain_divconq.engines.gguf import GgufHeader, check_adapter, check_model, read_header
from langchain_divconq.errors import ConfigurationError, EngineError, EngineNotInstalledError
from langchain_divconq.weights import default_adapter, default_weights

KEY_VARIABLE = "DIVCONQ_API_KEY"


def serve(args: argparse.Namespace) -> int:
    """Serve the decomposer until Ctrl-C or SIGTERM, which cut off replies under way; return the exit code."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(args)
    except KeyboardInterrupt:
        note("stopped")
        os._exit(0)  # not by returning: the server's destructor never ends if a reply is under way
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _serve(args: argparse.Namespace) -> None:
    key = args.api_key or os.environ.get(KEY_VARIABLE) or None
    _check_address(args.host, args.port, key)
    if find_spec("xllamacpp") is None:
        raise EngineNotInstalledError(
            "xllamacpp, which carries the server, is not installed. Install it with: "
            'pip install "langchain-divconq[serve]"'
        )
    model = default_weights() if args.model is None else args.model.expanduser()
    adapter = default_adapter() if args.model is None and args.adapter is None else args.adapter
    header = read_header(model)
    check_model(header)
    if adapter is not None:
        check_adapter(header, read_header(adapter))
    params = _params(args, header, adapter, key)
    try:
        server = importlib.import_module("xllamacpp").Server(params)
    except Exception as error:  # the wheel documents no class of its own
        raise EngineError(f"xllamacpp does not serve {model}: {error}") from error
    port = int(server.listening_address.rpartition(":")[2])
    show(render_client(args.host, port, has_key=key is not None, has_adapter=adapter is not None))
    note(
        f"Serving {header.name}{'' if adapter is None else f' with {adapter.name}'}; slots: {args.slots}, threads: "
        f"{params.cpuparams.n_threads}, context: {args.n_ctx} tokens. Ctrl-C stops it."
    )
    while True:
        time.sleep(0.2)  # short, since a signal may reach another thread, which wakes nobody here


def render_client(host: str, port: int, *, has_key: bool, has_adapter: bool) -> str:
    """Return the server's URL and the Python that decomposes by it.

    Args:
        host: What the server is bound to; a wildcard is shown as the machine's name.
        port: Its port.
        has_key: Whether it asks for a key, which is then read from DIVCONQ_API_KEY and not shown.
        has_adapter: Whether the model was taught, and so is asked as a student.
    """
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}/v1"
    api_key = f'os.environ["{KEY_VARIABLE}"]' if has_key else '"none"'
    style = ', prompt_style="student"' if has_adapter else ""
    lines = [
        url,
        "",
        *(["import os"] if has_key else []),
        "from langchain_openai import ChatOpenAI",
        "from langchain_divconq import Decomposer",
        f'decomposer = Decomposer(model=ChatOpenAI(base_url="{url}", api_key={api_key}), llama_server=True{style})',
    ]
    return "\n".join(lines) + "\n\n"


def _check_address(host: str, port: int, key: str | None) -> None:
    """Refuse an address that is not this machine's or is taken, and one that others reach without a key.

    The server says only that it cannot start, not why.
    """
    if key is None and not _is_loopback(host):
        raise ConfigurationError(
            f"--host {host} lets other machines in, and there is no key to keep them out. Set {KEY_VARIABLE} to a "
            "secret, or serve this machine alone: --host 127.0.0.1"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
                )  # a port just left is free, as for llama.cpp
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ConfigurationError(
            f"Port {port} of {host} cannot be served: {'another program has it' if taken else error}. "
            "Pass another --port (0: any that is free) or --host."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name counts as seen by others


def _params(args: argparse.Namespace, header: GgufHeader, adapter: Path | None, key: str | None) -> Any:
    """Return the server's settings: those of `XllamacppEngine` for all that shapes a reply."""
    from langchain_divconq.engines.xllamacpp import BATCH, cache_mib

    lib: Any = importlib.import_module("xllamacpp")
    params = lib.CommonParams()
    params.model.path = str(header.path)
    params.model_alias = {header.name}
    if adapter is not None:
        params.lora_adapters = [lib.CommonAdapterLoraInfo(str(adapter), 1.0)]
    params.n_ctx = args.n_ctx * args.slots  # divided among the slots
    params.n_batch = params.n_ubatch = BATCH
    params.flash_attn_type = lib.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads or default_threads()
    params.n_gpu_layers = 0
    params.n_parallel = args.slots
    params.cache_ram_mib = cache_mib(header, args.n_ctx, 2 * args.slots)
    params.fit_params = params.warmup = params.ui = params.prefill_assistant = False
    params.verbosity = -1
    params.sampling.temp = 0.0  # for clients that name no temperature
    params.hostnames = [args.host]
    params.port = args.port
    params.api_keys = [] if key is None else [key]
    params.endpoint_slots = False  # it shows what others ask
    params.cors_origins = ""  # no page in a browser may read replies
    return params
