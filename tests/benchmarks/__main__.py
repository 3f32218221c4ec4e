"""Measure, print, and keep what was measured: python -m tests.benchmarks [SECTION ...]

Each section runs in a process of its own, once for each engine it concerns. The results go to
tests/benchmarks/results/bench.json; sections not named keep theirs.
"""

import json
import platform
import subprocess
import sys
from typing import Any, get_args

from langchain_divconq import __version__
from langchain_divconq.llamacpp.engines import default_threads, physical_cores
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.benchmarks import chain, contexts, engines
from tests.benchmarks.interval import shown

BOTH: tuple[EngineName, ...] = get_args(EngineName)
SECTIONS: dict[str, tuple[Any, tuple[EngineName, ...]]] = {
    "latency": (engines.latency, BOTH),
    "overhead": (engines.overhead, BOTH),
    "community": (engines.community, BOTH[:1]),
    "alternating": (engines.alternating, BOTH),
    "grammar": (engines.grammar, BOTH),
    "contexts": (contexts.contexts, BOTH),
    "overlap": (chain.overlap, BOTH[:1]),
    "imports": (chain.imports, BOTH[:1]),
    "memory": (chain.memory, BOTH),
}


def main(arguments: list[str]) -> int:
    """Run the named sections, or all."""
    if arguments[:1] == ["--one"]:
        _, section, engine = arguments
        print(json.dumps(SECTIONS[section][0](engine)))
        return 0
    unknown = set(arguments) - set(SECTIONS)
    if unknown:
        print(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(SECTIONS)}.", file=sys.stderr)
        return 2
    file = engines.RESULTS / "bench.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results["machine"] = {
        "version": __version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": physical_cores(),
        "threads": default_threads(),
    }
    for section in arguments or SECTIONS:
        _, concerned = SECTIONS[section]
        for engine in concerned:
            command = [sys.executable, "-m", "tests.benchmarks", "--one", section, engine]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(run.stdout.splitlines()[-1])
            results.setdefault(section, {})[engine] = row
            values = "  ".join(f"{key} {shown(value)}" for key, value in row.items())
            print(f"{section:12} {engine:17} {values}", flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
