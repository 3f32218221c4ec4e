"""Runs an example with a real model behind a llama.cpp server, and prints its run tree after what it prints itself.

python -m tests.integration_tests.run_tree MODEL.gguf examples/agent_middleware.py > examples/agent_middleware.txt
"""

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from unittest.mock import patch

from langchain_core.tracers.context import register_configure_hook
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run

from tests.integration_tests.llama_server import API_KEY, MODEL_NAME, TOOLS, running

_collector: ContextVar[RunCollectorCallbackHandler | None] = ContextVar("collector", default=None)
register_configure_hook(_collector, inheritable=True)


@contextmanager
def collected_runs() -> Iterator[list[Run]]:
    """Collect what runs in the context, each root run with all that is below it."""
    # langchain-core's collect_runs() is not inherited by children, which shows the nodes of a graph as roots.
    collector = RunCollectorCallbackHandler()
    token = _collector.set(collector)
    try:
        yield collector.traced_runs
    finally:
        _collector.reset(token)


def render_run(run: Run, depth: int = 0) -> Iterator[str]:
    """Yield a line for a run and for each one below it: name, kind, and the tokens a model read and wrote."""
    generations = (run.outputs or {}).get("generations", []) if run.run_type == "llm" else []
    usage = [each["message"]["kwargs"].get("usage_metadata") for batch in generations for each in batch]
    tokens = "".join(f", {each['input_tokens']} + {each['output_tokens']} tokens" for each in usage if each)
    yield f"{'  ' * depth}{run.name} ({run.run_type}{tokens})"
    for child in run.child_runs:
        yield from render_run(child, depth + 1)


def main(model: str, example: str) -> None:
    with (
        running(Path(model), TOOLS) as address,
        patch.dict(os.environ, OPENAI_BASE_URL=f"{address}/v1", OPENAI_API_KEY=API_KEY),
        patch.object(sys, "argv", [example, f"openai:{MODEL_NAME}"]),
        collected_runs() as runs,
    ):
        runpy.run_path(example, run_name="__main__")
    for run in runs:
        print("\nRun tree:", *render_run(run), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
