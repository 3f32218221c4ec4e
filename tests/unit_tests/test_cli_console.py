"""What the command line does where its output cannot be written."""

import errno
import io
import os
import sys

import pytest

from langchain_divconq.cli import console
from langchain_divconq.errors import ConfigurationError


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Gone(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError("gone")


def test_a_full_disk_behind_standard_output_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(ConfigurationError, match=r"cannot be written: No space left on device\. Free"):
        console.show("a plan")


def test_a_reader_that_has_gone_is_left_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError, match="gone"):
        console.show("a plan")
