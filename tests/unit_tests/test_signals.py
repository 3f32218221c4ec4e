"""The suite where Ctrl-C is ignored, as in a script's background job: tests interrupt themselves all the same."""

import os
import signal
import subprocess
import sys

import pytest

from tests.repository import ROOT


def test_an_interrupt_reaches_a_test() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_child_of_a_test_can_be_interrupted() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"True"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no job ignores Ctrl-C")
def test_both_hold_where_the_suite_was_started_with_ctrl_c_ignored() -> None:
    command = 'trap "" INT; exec "$0" -m pytest -q -p no:cacheprovider -k "reaches or child" "$1"'
    run = subprocess.run(["/bin/sh", "-c", command, sys.executable, __file__], cwd=ROOT, capture_output=True, text=True)
    assert "2 passed" in run.stdout, run.stdout + run.stderr
