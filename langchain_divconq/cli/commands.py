"""`divconq ask` and `divconq decompose`, once their arguments are read.

Results go to stdout or into the output file; everything else goes to stderr.
"""

import argparse
import json
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from pydantic import ValidationError

from langchain_divconq.chain import DECOMPOSITION_EVENT, DivideAndConquer
from langchain_divconq.cli.batch import run_batch
from langchain_divconq.cli.console import note, show, show_record, usage_line
from langchain_divconq.cli.jsonl import Item, RecordFile, read_items
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.plans import render_plan
from langchain_divconq.prompts import ANSWER_MARKER, PROMPT_VERSION
from langchain_divconq.solver import Solver
from langchain_divconq.students import SIZES, bundled_model, gguf_model
from langchain_divconq.types import Decomposition, Question, Solution
from langchain_divconq.unwrap import named_model
from langchain_divconq.usage import Price

_SETTINGS = (
    *("solver", "mode", "max_tokens", "price"),
    *("decomposer", "max_subquestions", "gate", "num_beams", "engine", "n_ctx"),
)
_REPLY_TOKENS = 1024
_EMBEDDED_REPLY_TOKENS = 96  # a small model that does not come to an end goes in circles
_EMBEDDED_NOTE = (
    "No --solver: the small default model answers as well. This shows the plumbing, not the quality.\n"
    'Name a real one: --solver openai:gpt-5-mini (with pip install "langchain-divconq[agents]" langchain-openai)\n'
    "or --solver gguf:/path/to/model.gguf"
)


def ask(args: argparse.Namespace) -> int:
    """Divide and answer one question, or a file of them; return the exit code."""
    asked = _asked(args)
    with _options_checked():
        price = None if args.price is None else Price(input=args.price[0], output=args.price[1])
        solver = Solver(model=_solver_model(args), mode=args.mode, price=price)
        chain = DivideAndConquer(solver=solver, decomposer=make_decomposer(args))
    if isinstance(asked, list):
        return _batch(chain, asked, args, "solution")
    if args.json:
        show_record(Solution.from_message(chain.invoke(asked)).model_dump(mode="json"))
        return 0
    _show_solution(_streamed(chain, asked, solver))
    return 0


def decompose(args: argparse.Namespace) -> int:
    """Divide one question, or a file of them; return the exit code."""
    asked = _asked(args)
    with _options_checked():
        decomposer = make_decomposer(args)
    if isinstance(asked, list):
        return _batch(decomposer, asked, args, "decomposition")
    decomposition = decomposer.invoke(asked)
    if args.json:
        show_record(decomposition.model_dump(mode="json"))
        return 0
    show(render_plan(decomposition.subquestions) + "\n")
    if decomposition.reason:
        note(f"({decomposition.reason})")
    return 0


@contextmanager
def _options_checked() -> Iterator[None]:
    """Turn what pydantic says of the options into an error of ours, without its frame."""
    try:
        yield
    except ValidationError as error:
        causes = [
            str(details["ctx"]["error"])
            if details["type"] == "value_error"
            else f"{details['loc'][0]}: {details['msg']}"
            for details in error.errors()
        ]
        raise ConfigurationError("; ".join(causes)) from error


def _asked(args: argparse.Namespace) -> Question | list[Item]:
    """Return the question, or those of the file, all checked before anything is loaded."""
    context = _context(args.context)
    if args.input is not None:
        if args.question is not None:
            raise ConfigurationError("There is a question and an --input; pass one of the two.")
        return _read_input(args.input, args.output, context)
    if args.output is not None:
        raise ConfigurationError(
            "--output goes with --input. For one question, redirect: divconq ask --json ... > FILE"
        )
    text = _question_from_stdin() if args.question is None else args.question
    return Question.from_input({"question": text, "context": context})


def _context(option: str | None) -> str | None:
    if option is None or not option.startswith("@"):
        return option
    try:
        _refuse_device(Path(option[1:]))
        return Path(option[1:]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--context {option}: the file cannot be read: {error}") from error


def _read_input(name: str, output: Path | None, context: str | None) -> list[Item]:
    if name == "-":
        return read_items(sys.stdin.buffer, "stdin", context)
    path = Path(name)
    try:
        if output is not None and output.exists() and output.samefile(path):
            raise ConfigurationError(f"--input and --output are the same file, {name}. Name another --output.")
        _refuse_device(path)
        with path.open("rb") as lines:
            return read_items(lines, name, context)
    except OSError as error:
        raise ConfigurationError(f"--input {name}: the file cannot be read: {error}") from error


def _refuse_device(path: Path) -> None:
    """Refuse what may have no end; a pipe (`--input <(...)`) has one."""
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(f"{path} is a device, not a file")


def _question_from_stdin() -> str:
    if sys.stdin.isatty():
        raise ConfigurationError(
            'There is no question. Pass one in quotes: divconq ask "How many ...?"; or pipe one in; or name a file of '
            "them: --input FILE.jsonl"
        )
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidQuestionError(f"The question on stdin is not UTF-8 text: {error}") from error
    if text.startswith("{"):
        try:
            json.loads(text.splitlines()[0])
        except ValueError:
            return text
        raise ConfigurationError("stdin holds JSON lines where one question in words was expected. Add --input -")
    return text


def _solver_model(args: argparse.Namespace) -> BaseChatModel:
    if args.solver is not None:
        return make_model("--solver", args.solver, args, args.max_tokens)
    note(_EMBEDDED_NOTE)
    return ChatGGUF(engine=args.engine, n_ctx=args.n_ctx, max_tokens=args.max_tokens or _EMBEDDED_REPLY_TOKENS)


def make_decomposer(args: argparse.Namespace) -> Decomposer:
    """Return the decomposer that the options describe."""
    name = args.decomposer or SIZES[0]
    if name in SIZES:
        model: Runnable[Any, Any] = bundled_model(name, engine=args.engine, n_ctx=args.n_ctx)
    else:
        model = make_model("--decomposer", name, args, None)
    return Decomposer(model, max_subquestions=args.max_subquestions, gate=args.gate, num_beams=args.num_beams)


def make_model(option: str, name: str, args: argparse.Namespace, max_tokens: int | None) -> BaseChatModel:
    """Return the chat model that an option names, as gguf:PATH or PROVIDER:MODEL."""
    if name.startswith("gguf:") or ":" not in name:
        limit = max_tokens or _REPLY_TOKENS
        return gguf_model(option, name, engine=args.engine, n_ctx=args.n_ctx, max_tokens=limit)
    model: BaseChatModel = named_model(option, name, **({} if max_tokens is None else {"max_tokens": max_tokens}))
    return model


class _PlanAnnouncer(BaseCallbackHandler):
    """Shows the plan the moment there is one, before the solver's first token."""

    raise_error = True

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        if name != DECOMPOSITION_EVENT:
            return
        decomposition = Decomposition.model_validate(data)
        if decomposition.subquestions:
            show(f"{render_plan(decomposition.subquestions)}\n\nMode: {self._solver.mode}\n\n")
        else:
            show(f"Mode: {self._solver.single_stage}, since {decomposition.reason}\n\n")


def _streamed(chain: DivideAndConquer, question: Question, solver: Solver) -> Solution:
    """Show plan and reply as they come, and return the solution."""
    last: BaseMessage | None = None
    for last in chain.stream(question, {"callbacks": [_PlanAnnouncer(solver)]}):
        show(last.text)
    assert last is not None  # the last chunk carries the Solution, however short the reply
    return Solution.from_message(last)


def _show_solution(solution: Solution) -> None:
    """Show what is left once the reply has been shown."""
    lines = solution.text.rstrip().splitlines()
    show("" if solution.text.endswith("\n") else "\n")
    if solution.answer is None:
        note("The reply holds no final answer that can be told from the rest.")
    elif not (lines and lines[-1].startswith(ANSWER_MARKER)):
        show(f"\n{ANSWER_MARKER} {solution.answer}\n")
    show(f"\n{usage_line(solution.usage)}\n")


def _batch(runnable: Runnable[Any, Any], items: list[Item], args: argparse.Namespace, kind: str) -> int:
    """Work through the questions of a file, but for those that an earlier run finished; return the exit code."""
    if args.output is None:
        return 1 if run_batch(runnable, items, show_record, args.concurrency) else 0
    with RecordFile(args.output, kind, _settings(args)) as file:
        left = [item for item in items if not file.is_finished(item)]
        before = len(items) - len(left)
        return 1 if run_batch(runnable, left, file.add, args.concurrency, before=before, keeps_failures=False) else 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what records depend on: made with others, they are not to be mixed."""
    given = {name: getattr(args, name) for name in _SETTINGS if hasattr(args, name)}
    return {**given, "prompts": PROMPT_VERSION}
