"""The cost of the chain: overlap in batches, import time, memory over many calls."""

import statistics
import subprocess
import sys
import time
from typing import Any

import psutil
from langchain_core.runnables import RunnableLambda

from langchain_divconq import ChatGGUF, Decomposer, DivideAndConquer, Solver
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.benchmarks.engines import Row, shipped
from tests.benchmarks.interval import middle, ratio
from tests.benchmarks.questions import questions
from tests.unit_tests.fakes import scripted

DELAY = 0.5
"""Seconds that the solver takes, as a distant provider does."""

OVERLAP_QUESTIONS = 8
MEMORY_CALLS = 300
REPEATS = 3


def overlap(engine: EngineName) -> Row:
    """A batch against the same two stages as a plain sequence, whose batch makes all plans before the first answer."""
    asked: list[Any] = list(questions(OVERLAP_QUESTIONS, seed=6))
    solver = Solver(model=scripted("Answer: 1", delay=DELAY))
    decomposer = Decomposer(model=ChatGGUF(engine=engine), gate="always")
    chain = DivideAndConquer(solver=solver, decomposer=decomposer)
    sequence = decomposer | RunnableLambda(solver.invoke)
    decomposer.invoke(asked[0])
    row: Row = {"n": REPEATS, "questions": len(asked), "solver_delay_s": DELAY}
    for limit in (1, 4):
        ours, theirs = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            chain.batch(asked, {"max_concurrency": limit})
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            sequence.batch(asked, {"max_concurrency": limit})
            theirs.append(time.perf_counter() - start)
        row[f"ratio_to_sequence_at_{limit}"] = ratio(ours, theirs)
    return row


def memory(engine: EngineName) -> Row:
    """Resident memory after the first calls and after many more."""
    process, mib = psutil.Process(), 2**20
    decomposer = shipped(engine)
    before = process.memory_info().rss
    asked = questions(MEMORY_CALLS, seed=7)
    sizes = []
    for question in asked:
        decomposer.invoke(question)
        sizes.append(process.memory_info().rss)
    settled, final = statistics.median(sizes[30:50]), statistics.median(sizes[-20:])
    return {
        "calls": MEMORY_CALLS,
        "loaded_mib": (sizes[0] - before) / mib,
        "growth_from_call_40_mib": (final - settled) / mib,
    }


def imports(_: EngineName) -> Row:
    """Import time, against what it stands on: langchain-core's chat models."""
    ours: list[float] = []
    base: list[float] = []
    runnables: list[float] = []
    for _run in range(7):
        ours.append(_import_seconds("langchain_divconq"))
        base.append(_import_seconds("langchain_core.language_models.chat_models"))
        runnables.append(_import_seconds("langchain_core.runnables"))
    return {
        "n": len(ours),
        "import_s": middle(ours),
        "ratio_to_core_chat_models": ratio(ours, base),
        "ratio_to_core_runnables": ratio(ours, runnables),
    }


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)
