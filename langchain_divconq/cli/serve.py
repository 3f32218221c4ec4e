"""`divconq serve`: one machine's decomposer for a team, as an OpenAI-compatible API.

The models are those that run in a process, with the same settings, so a decomposition is the same whether it was asked
for here or there. What may be asked, and by whom, is in `http_api.py`.
"""

import argparse
import errno
import os
import signal
import socket
import threading
import time
from ipaddress import ip_address
from pathlib import Path

from pydantic import PrivateAttr

from langchain_divconq.cli.console import note, show
from langchain_divconq.cli.http_api import MOST_SECONDS, Api, Server
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines import default_threads, load_engine
from langchain_divconq.llamacpp.engines.base import Engine, EngineName
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.trial import create_engine
from langchain_divconq.llamacpp.weights import default_adapter, default_weights

KEY_VARIABLE = "DIVCONQ_API_KEY"


def serve(args: argparse.Namespace) -> int:
    """Serve the decomposer until Ctrl-C or SIGTERM, which cut off replies under way; return the exit code."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(args)
    except KeyboardInterrupt:
        note("stopped")
        os._exit(0)  # not by returning: replies under way would be waited for
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _serve(args: argparse.Namespace) -> None:
    key = _key(args.api_key)
    family, address = _address(args.host, args.port, key)
    model = default_weights() if args.model is None else args.model.expanduser()
    adapter = default_adapter() if args.model is None and args.adapter is None else args.adapter
    threads = args.threads or max(1, default_threads() // args.slots)
    models = _load(model, adapter, args.engine, threads, args)
    # By the name of a shipped adapter a client knows how sure its plans are.
    name = adapter.stem if adapter is not None and adapter == default_adapter() else read_header(model).name
    with Server(address, family, Api(models, name, key)) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        show(render_client(args.host, port, has_key=key is not None, has_adapter=adapter is not None))
        weights = f"{read_header(model).name}{'' if adapter is None else f' with {adapter.name}'}"
        note(
            f"Serving {weights} by {models[0]._engine().name}; slots: "
            f"{args.slots}, threads: {threads} each, context: {args.n_ctx} tokens. Ctrl-C stops it."
        )
        while True:
            time.sleep(0.2)  # short, since a signal may reach another thread, which wakes nobody here


class _Slot(ChatGGUF):
    """A model with an engine of its own, so that it decodes beside the others."""

    _own: Engine = PrivateAttr()

    def _engine(self) -> Engine:
        return self._own


def _load(
    model: Path, adapter: Path | None, engine: EngineName | None, threads: int, args: argparse.Namespace
) -> list[ChatGGUF]:
    """Return a model for each request that is decoded at once, loaded; the first may be shared with this process."""
    models = [
        _Slot(
            model_path=model,
            adapter_path=adapter,
            engine=engine,
            n_ctx=args.n_ctx,
            n_threads=threads,
            timeout=MOST_SECONDS,
            max_tokens=args.n_ctx,
        )
        for _ in range(args.slots)
    ]
    models[0]._own = load_engine(models[0]._settings(), engine)
    for other in models[1:]:
        other._own = create_engine(other._settings(), models[0]._own.name)
    return list(models)


def _key(option: str | None) -> str | None:
    """Return the key that clients are to send (None: there is none); refuse one that is blank or no header takes."""
    key = os.environ.get(KEY_VARIABLE) or None if option is None else option
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
        raise ConfigurationError(
            f"The key in {KEY_VARIABLE if option is None else '--api-key'} is blank, begins or ends with a space, or "
            "has characters that a header cannot carry. Choose one of letters and digits."
        )
    return key


def render_client(host: str, port: int, *, has_key: bool, has_adapter: bool) -> str:
    """Return the server's URL and the Python that decomposes by it.

    A wildcard is shown as the machine's name; a key is read from DIVCONQ_API_KEY, and not shown.
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


def _address(host: str, port: int, key: str | None) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return what to bind; refuse an address that is not this machine's or is taken, or open without a key."""
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
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ConfigurationError(
            f"Port {port} of {host} cannot be served: {'another program has it' if taken else error}. "
            "Pass another --port (0: any that is free) or --host."
        ) from error
    return family, (str(address[0]), port)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name counts as seen by others
