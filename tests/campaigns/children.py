"""Cases in child processes: one that dies or hangs is an outcome, and the rest go on in another child."""

import io
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")
_START_SECONDS = 120


def each_in_child(
    work: Callable[[T], str], cases: Sequence[T], *, seconds: float = 60, batch: int = 200
) -> Iterator[tuple[T, str]]:
    """Yield each case with what `work` says of it in a child process.

    Args:
        work: A function of a module (it is found by name in the child), from a case to an outcome in words.
        cases: What to work through, in order.
        seconds: A case that takes longer has hung: its outcome is "hung", and the child is killed.
        batch: Cases to a child, one after another.

    Yields:
        The case and its outcome; "died of SIGABRT" (or another signal), "ended with 3" where the child did not come
        back, "raised TypeError: ..." where `work` itself failed.
    """
    done = 0
    while done < len(cases):
        for outcome in _in_one_child(work, cases[done : done + batch], seconds):
            yield cases[done], outcome
            done += 1


def in_fork(work: Callable[[], str], *, seconds: float) -> str:
    """Return what `work` says in a fork of this process: quick to start, for what must not touch this one.

    Args:
        work: From nothing to an outcome in words. Nothing that holds threads may have been started here.
        seconds: As for `each_in_child`, and the outcomes too.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            outcome = work()
        except BaseException as error:  # as below
            outcome = f"raised {type(error).__name__}: {error}"[:400]
        os.write(writing, outcome.encode(errors="replace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        hung = not select.select([said], [], [], seconds)[0]
        if hung:
            os.kill(child, signal.SIGKILL)
        outcome = said.read().decode()
    _, status = os.waitpid(child, 0)
    return "hung" if hung else outcome or _ending(os.waitstatus_to_exitcode(status))


def run_forked(main: Callable[[], None], *, given: bytes, seconds: float) -> "subprocess.CompletedProcess[bytes]":
    """Do as `subprocess.run` does with a Python program, in a fork of this process: without its start and its imports.

    Args:
        main: The program; it ends the process itself.
        given: Its standard input.
        seconds: As `timeout` there.

    Raises:
        subprocess.TimeoutExpired: It took longer.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            sys.stdin, sys.stdout = io.StringIO(given.decode()), io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
            try:
                main()
            finally:
                os._exit(1)
        end = time.monotonic() + seconds
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise subprocess.TimeoutExpired("a fork", seconds)
            time.sleep(0.005)
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess([], os.waitstatus_to_exitcode(ended[1]), out.read(), errors.read())


def _in_one_child(work: Callable[[T], str], cases: Sequence[T], seconds: float) -> Iterator[str]:
    """Yield outcomes in order, until all are done or the child is gone; the last one then says how it went."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work_through, args=(work, cases, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        for place in range(-1, len(cases)):  # first it says that it has started
            if not ours.poll(_START_SECONDS if place < 0 else seconds):
                yield "hung"
                return
            try:
                outcome = ours.recv()
                if outcome is not None:
                    yield outcome
            except EOFError:
                child.join(seconds)
                yield _ending(child.exitcode)
                return
        child.join(seconds)
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        ours.close()


def _work_through(work: Callable[[T], str], cases: Sequence[T], results: Connection) -> None:
    results.send(None)
    for case in cases:
        try:
            outcome = work(case)
        except BaseException as error:  # whatever it is, it is this case's outcome
            outcome = f"raised {type(error).__name__}: {error}"[:400]
        results.send(outcome)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with {code}"
