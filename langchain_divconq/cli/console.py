"""Output of the command line: results on stdout, everything else on stderr."""

import json
import os
import sys
from contextlib import suppress

from langchain_divconq.cli.jsonl import Record
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.usage import StageUsage, Usage


def show(text: str) -> None:
    """Show a piece of a result; a full disk raises a ConfigurationError, a reader that has gone a BrokenPipeError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError, ValueError):  # or the interpreter would try the rest again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigurationError(
            f"Standard output cannot be written: {error.strerror}. Free space there, or redirect it elsewhere."
        ) from error


def show_record(record: Record) -> None:
    """Show a result as one line of JSON."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    show(json.dumps(record, ensure_ascii=ascii_only) + "\n")


def note(text: str) -> None:
    """Say something beside the results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def usage_line(usage: Usage) -> str:
    """Return what was used, stage by stage."""
    stages = [("decomposer", usage.decompose), ("solver", usage.solve)]
    return "; ".join(f"{name}: {_in_words(stage)}" for name, stage in stages if stage.calls) or "no model was called"


def _in_words(stage: StageUsage) -> str:
    parts = []
    if stage.unmetered_calls < stage.calls:
        parts.append(f"{stage.input_tokens} tokens in, {stage.output_tokens} out")
    if stage.unmetered_calls:
        parts.append(f"{stage.unmetered_calls} of {stage.calls} calls without token counts")
    parts.append(f"{stage.seconds:.1f} s")
    if stage.dollars is not None:
        parts.append(f"${stage.dollars:.6f}")
    return ", ".join(parts)
