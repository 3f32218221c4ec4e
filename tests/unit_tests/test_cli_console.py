"""Tests of the command line where its output cannot be written."""

import errno
import io
import os
import sys

import pytest

from langchain_divconq.cli import console
from langchain_divconq.errors import ConfigurationError
from tests.unit_tests.fakes import raising


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ConfigurationError, r"No space left on device\. Free"),
        (BrokenPipeError("gone"), BrokenPipeError, "gone"),
    ],
)
def test_a_full_disk_is_said_in_words_and_a_reader_that_has_gone_is_left_to_the_caller(
    error: OSError, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys.stdout, "flush", raising(error))
    with pytest.raises(kind, match=said):
        console.show("a plan")
