"""The command line: `divconq ask`, `decompose`, `evaluate`, `serve` and `doctor`.

This module reads the arguments and turns errors into words and exit codes; what does the work is imported once it is
known to be wanted, so that `divconq --help` answers at once.
"""

import argparse
import importlib
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from langchain_divconq._version import __version__
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.grammar import DEFAULT_CAP

__all__ = ["main"]

T = TypeVar("T")

MODES = ("fused", "sequential", "parallel")
ENGINES = ("llama-cpp-python", "xllamacpp")

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

_EPILOG = """\
questions in a file:
  --input FILE.jsonl holds one question a line: {"question": "..."}, perhaps with "id" and "context"; other keys are
  ignored. --output FILE.jsonl gets one record a question as soon as it is finished, in the order they finish, known by
  the question's "id" or else by its "line" in the input. The same command run again skips what is finished, so a run
  that was stopped or killed goes on where it was; questions that failed are named on stderr, have no record, and are
  asked again. A record keeps the options it was made with; other options need another file.

"""
_EVALUATE_EPILOG = """\
questions and passages:
  --questions FILE holds JSON lines, or a JSON list: {"question": "...", "passages": ["...", ...]}, perhaps with "id".
  Its passages are those that answer it, by id, title or text. --corpus FOLDER holds .txt and .md files, a passage each,
  known by their names without the ending; or .jsonl and .json files with rows {"text": "...", "title": "...",
  "id": "..."}. BM25 searches it: for the whole question, hop by hop, and hop by hop with reciprocal rank fusion.

  The same command run again skips what is finished; the table is made of all records.

"""
_EXIT_CODES = """\
exit codes:
  0: all is well; 1: something failed, in a file perhaps one question of many; 2: wrong use; 130: interrupted
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a character the terminal lacks must not end the run
    args = _parser().parse_args(argv)
    try:
        module = "commands" if args.command in ("ask", "decompose") else args.command
        run = getattr(importlib.import_module(f"langchain_divconq.cli.{module}"), args.command)
        return int(run(args))
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has gone; keep the interpreter from complaining of it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ConfigurationError, InvalidQuestionError) as error:
        if args.debug:
            raise
        _complain(str(error))
        return WRONG_USE
    except Exception as error:  # a provider's package raises what it likes
        if args.debug:
            raise
        _complain(f"{type(error).__name__}: {error}")
        return FAILED


def _complain(message: str) -> None:
    sys.stderr.write(f"divconq: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="divconq",
        description="Divide a question with a small local model, conquer it with any chat model.",
    )
    parser.add_argument("--version", action="version", version=f"divconq {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="ask | decompose | evaluate | serve | doctor"
    )
    ask = _command(commands, "ask", "divide a question and answer it", _EPILOG)
    decompose = _command(commands, "decompose", "only divide a question", _EPILOG)
    for command in (ask, decompose):
        _add_input(command)
    add = ask.add_argument_group("answering").add_argument
    add(
        "--solver",
        metavar="MODEL",
        help="what answers: PROVIDER:MODEL as langchain's init_chat_model takes it, or gguf:PATH; default: the small "
        "embedded model, which shows the plumbing, not the quality",
    )
    add("--mode", choices=MODES, default="fused", help="how subquestions are answered (%(default)s)")
    add("--max-tokens", type=_positive, metavar="N", help="longest reply of the solver, in tokens")
    add(
        "--price", type=_price, metavar="IN,OUT", help="the solver's price in dollars per million tokens, to be counted"
    )
    for command in (ask, decompose):
        _add_dividing(command)
    _add_evaluating(_command(commands, "evaluate", "measure retrieval on questions of your own", _EVALUATE_EPILOG))
    _add_serving(_command(commands, "serve", "serve the decomposer to others, as an OpenAI-compatible API"))
    _command(commands, "doctor", "say what is installed, try it, and tell what mends it")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, epilog: str = ""
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _add_input(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("question", nargs="?", metavar="QUESTION", help="the question; default: all of stdin")
    add("--context", metavar="TEXT", help="a passage the question is about, or @FILE that holds it")
    add("--json", action="store_true", help="print all there is to know, as one line of JSON")
    add("--input", metavar="FILE", help="ask the questions of a JSONL file; -: of stdin")
    add("--output", type=Path, metavar="FILE", help="where their records go; default: stdout")
    add("--concurrency", type=_positive, default=4, metavar="N", help="model calls in flight at most (%(default)s)")


def _add_dividing(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("dividing").add_argument
    add(
        "--decomposer",
        metavar="MODEL",
        help="what divides: small (the default) or medium, which come with the library, gguf:PATH or PROVIDER:MODEL",
    )
    add(
        "--max-subquestions",
        type=int,
        default=DEFAULT_CAP,
        metavar="N",
        help="most subquestions, from 1 to 9 (%(default)s)",
    )
    add(
        "--gate",
        type=_gate,
        default=0.75,
        metavar="GATE",
        help="always, never, or how sure the model has to be, from 0 to 1, that a question needs no subquestions "
        "for it to stay whole (%(default)s)",
    )
    add(
        "--num-beams",
        type=int,
        metavar="N",
        help="how many beginnings of a plan are followed side by side, from 1 to 16, by llama-cpp-python; 1: faster, "
        "not as good; default: 4 for small and medium, 1 for other models",
    )
    add("--engine", choices=ENGINES, help="what runs GGUF models; default: what is installed")
    add("--n-ctx", type=int, default=4096, metavar="N", help="context of GGUF models, in tokens (%(default)s)")


def _add_evaluating(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--questions", type=Path, required=True, metavar="FILE", help="questions with their passages")
    add("--corpus", type=Path, required=True, metavar="FOLDER", help="what is searched")
    add("--k", type=_positive, default=9, metavar="N", help="passages that count (%(default)s)")
    add(
        "--reader",
        metavar="MODEL",
        help="what reads the answers that later subquestions need, gguf:PATH or PROVIDER:MODEL; default: nobody, the "
        "best passage's title or the subquestion's words stand for them",
    )
    add("--max-tokens", type=_positive, default=64, metavar="N", help=argparse.SUPPRESS)
    add(
        "--price", type=_price, metavar="IN,OUT", help="the reader's price in dollars per million tokens, to be counted"
    )
    add("--output", type=Path, metavar="FILE", help="where the records go; default: beside the questions")
    add("--plot", type=Path, metavar="FILE", help="a picture of what was found (needs matplotlib)")
    add("--concurrency", type=_positive, default=4, metavar="N", help="questions at once (%(default)s)")
    _add_dividing(command)
    # Every question is divided: what a gate would give follows from the records.
    command.set_defaults(gate=1.0, max_subquestions=4)


def _add_serving(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--model", type=Path, metavar="GGUF", help="what is served; default: the default weights")
    add(
        "--adapter",
        type=Path,
        metavar="GGUF",
        help="a LoRA adapter trained on them; default: the shipped one, if --model is not given",
    )
    add("--host", default="127.0.0.1", help="address to bind; others than this machine need a key")
    add("--port", type=_port, default=8080, help="port to bind; 0: any that is free (%(default)s)")
    add(
        "--api-key",
        metavar="KEY",
        help="key that clients must send; better set as DIVCONQ_API_KEY, since a list of processes shows arguments",
    )
    add("--slots", type=_positive, default=1, metavar="N", help="requests decoded at once; others wait (%(default)s)")
    add("--engine", choices=ENGINES, help="what runs the model; default: what is installed")
    add("--threads", type=_positive, metavar="N", help="for each slot; default: one fewer than the cores, shared out")
    add("--n-ctx", type=_positive, default=4096, metavar="N", help="context of each request, in tokens (%(default)s)")


def _reader(read: Callable[[str], T], expected: str) -> Callable[[str], T]:
    """Return what reads an argument, and says what is expected where that fails."""

    def argument(text: str) -> T:
        try:
            return read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is given; expected {expected}") from None

    return argument


def _whole(text: str, least: int = 1, most: float = math.inf) -> int:
    if not least <= int(text) <= most:
        raise ValueError
    return int(text)


def _two(text: str) -> tuple[float, float]:
    prompt, reply = map(float, text.split(","))
    return prompt, reply


_positive = _reader(_whole, "a whole number from 1")
_port = _reader(lambda text: _whole(text, 0, 2**16 - 1), "a whole number from 0 to 65535")
_gate = _reader(lambda text: text if text in ("always", "never") else float(text), "always, never or a probability")
_price = _reader(_two, "two numbers, such as 0.25,2")
