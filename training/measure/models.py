"""The models of an arm: loaded by name, asked many questions at once, their calls counted and their failures named."""

import asyncio
import atexit
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelConnectionError, ModelTimeoutError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable

from langchain_divconq.asking import BROKEN_SETUP
from langchain_divconq.calls import arun_all
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import WeightsNotFoundError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.weights import default_adapter, default_weights
from langchain_divconq.usage import StageUsage
from training.config import ROOT, Source
from training.example import Example, examples_fingerprint
from training.measure.config import DecomposerOptions, SolverOptions
from training.teach.teachers import load_teacher

T = TypeVar("T")

NAME = "meter"
"""In a run's metadata: what a `Meter` counts it under."""

# Not what the replies depend on, but where and how fast they come; and what must not be committed.
_NO_SETTING = re.compile(r"base_url|timeout|retries|key|secret|password|credential|header|auth|token$", re.IGNORECASE)
_REFUSALS = frozenset({"content_filter", "refusal", "SAFETY"})


def load_solver(options: SolverOptions) -> BaseChatModel:
    """Return a solver's chat model. Nothing is loaded or asked yet.

    Raises:
        ValueError: It cannot be set up: no file, no package, no key, an unknown option.
        WeightsNotFoundError: There is no such adapter, or no such GGUF.
    """
    provider, _, path = options.model.partition(":")
    if provider == "gguf" and path != "bundled":
        _existing(Path(path), "model")
    adapter = {} if options.adapter is None else {"adapter_path": _existing(options.adapter)}
    return load_teacher(options.model, **_values(options.options), **adapter)


def load_decomposer(options: DecomposerOptions, model: Runnable[Any, Any] | None = None) -> Decomposer | None:
    """Return a decomposer. Nothing is loaded or asked yet. None: no model writes the plans.

    `model` takes the place of the model the config names.

    Raises:
        ValueError: It cannot be set up: no file, no package, no key, an unknown option.
        WeightsNotFoundError: There is no such adapter.
    """
    if options.kind in ("none", "recorded"):
        return None
    if model is None:
        if options.kind == "model":
            assert options.model is not None
            model = load_teacher(options.model, **_values(options.options))
        else:
            model = ChatGGUF(model_path=default_weights(options.size), adapter_path=_adapter(options))
    return Decomposer(
        model=model,
        max_subquestions=options.max_subquestions,
        gate=options.gate,
        prompt_style=options.prompt_style,
        num_beams=options.num_beams,
    )


def source_settings(source: Source, drawn: Sequence[Example]) -> dict[str, str]:
    """Return what tells an arm's questions: of a file of one's own or a dataset of the hub a mark of their text too."""
    known: dict[str, str] = {"source": source.name, "split": source.split}
    if source.path is None and source.hub is None:
        return known
    return {**known, "questions": examples_fingerprint(sorted(drawn, key=lambda one: one.id))}


def solver_settings(name: str | None, options: SolverOptions) -> dict[str, Any]:
    """Return what a solver's replies depend on, as far as the config tells, in JSON's types; no key is among it."""
    return {
        "name": name,
        **options.model_dump(mode="json", include={"model", "adapter"}, exclude_none=True),
        "options": _settings(options.options),
    }


def decomposer_settings(name: str, options: DecomposerOptions) -> dict[str, Any]:
    """Return what a decomposer's plans depend on, as far as the config tells, in JSON's types; no key is among it."""
    excluded = {"options", "price", "concurrency"} | ({"size"} if options.size == "small" else set())
    excluded |= {"num_beams"} if options.num_beams == 1 else set()
    if options.kind in ("none", "recorded"):
        excluded |= {"gate", "prompt_style"} | ({"max_subquestions"} if options.kind == "none" else set())
    settings = {"name": name, **options.model_dump(mode="json", exclude=excluded, exclude_none=True)}
    return {**settings, "options": _settings(options.options)} if options.options else settings


def files_of(stage: str, model: Runnable[Any, Any] | None) -> dict[str, Path]:
    """Return the files that a stage's model is loaded from, by what they are; none of a provider's."""
    if not isinstance(model, ChatGGUF):
        return {}
    files = {stage: model.model_path or default_weights(), f"{stage}_adapter": model.adapter_path}
    return {name: path.expanduser() for name, path in files.items() if path is not None}


class Meter(BaseCallbackHandler):
    """Counts the calls made under it, failed ones included: what they used, and what the last of them said."""

    run_inline = True  # it counts, and so never waits

    def __init__(self) -> None:
        self.by_name: dict[str, StageUsage] = {}
        """What the calls used, by the name in their runs' metadata under `NAME` ("": none), in the order of the first
        calls."""
        self.last: BaseMessage | None = None
        """The last reply; None: there is none."""
        self._starts: dict[UUID, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @property
    def usage(self) -> StageUsage:
        """What the calls used."""
        return sum(self.by_name.values(), StageUsage())

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Note when a call begins, and what it is counted under."""
        name = str((kwargs.get("metadata") or {}).get(NAME, ""))
        with self._lock:
            self._starts[run_id] = (name, time.perf_counter())

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Count a call and keep its reply."""
        generation = response.generations[0][0]
        message = generation.message if isinstance(generation, ChatGeneration) else AIMessage(generation.text)
        self._end(run_id, message)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Count a call that failed."""
        self._end(run_id, None)

    def _end(self, run_id: UUID, reply: BaseMessage | None) -> None:
        with self._lock:
            name, start = self._starts.pop(run_id)
            seconds = time.perf_counter() - start
            failed = StageUsage(calls=1, unmetered_calls=1, seconds=seconds)
            used = failed if reply is None else StageUsage.of_call(reply, seconds=seconds)
            self.by_name[name] = self.by_name.get(name, StageUsage()) + used
            self.last = reply


def ask_all(
    items: Sequence[T], ask: Callable[[T], Coroutine[Any, Any, None]], *, concurrency: int, done: int, title: str
) -> None:
    """Ask about each item, at most so many at once. The first error, or an interrupt, cancels the calls in flight.

    `done` more were finished before; `title` stands beside the bar.
    """
    from tqdm import tqdm

    async def each() -> None:
        # Where nobody watches, a line now and then instead of a bar that moves.
        interval, total = 0.1 if sys.stderr.isatty() else 60, len(items) + done
        bar = tqdm(total=total, initial=done, desc=title, unit="question", mininterval=interval, file=sys.stderr)
        results = arun_all(lambda at: ask(items[at]), len(items), concurrency, False)
        async with aclosing(results):  # type: ignore[type-var]  # an async generator, announced as an iterator
            with bar:
                async for _ in results:
                    bar.update()

    if items:
        _runner().run(each())


@cache
def _runner() -> asyncio.Runner:
    """Return what runs all arms in one loop: providers' clients pool connections, and those of a closed loop fail."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def why_failed(error: Exception) -> str:
    """Return why a question got no reply, as its record says it.

    Raises:
        Exception: The error itself, where it is no question's: the set-up is broken, or nobody answers there.
    """
    if isinstance(error, (ModelTimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(error, (*BROKEN_SETUP, ModelConnectionError)):
        raise error
    if getattr(error, "code", None) == "content_filter" or "ContentFilter" in type(error).__name__:
        return "refused"
    return f"error: {type(error).__name__}"


def why_no_reply(message: BaseMessage | None) -> str | None:
    """Return why a message is no reply that could be judged; None: it is one."""
    if message is None:
        return "empty reply"
    kinds = {block.get("type") for block in message.content if isinstance(block, dict)}
    reason = {message.response_metadata.get(name) for name in ("finish_reason", "stop_reason")}
    if message.additional_kwargs.get("refusal") or reason & _REFUSALS or "refusal" in kinds:
        return "refused"
    if message.text.strip():
        return None
    is_thought = kinds <= {"text", "reasoning", "thinking"}
    return "empty reply" if is_thought and not getattr(message, "tool_calls", None) else "not text"


def _adapter(options: DecomposerOptions) -> Path | None:
    if options.kind == "untuned":
        return None
    if options.kind == "gguf":
        assert options.adapter is not None
        return _existing(options.adapter)
    if (adapter := default_adapter(options.size)) is None:
        raise WeightsNotFoundError(
            f"No adapter ships for the {options.size} weights; unset DIVCONQ_MODEL, if it is set."
        )
    return adapter


def _existing(named: Path, what: str = "adapter") -> Path:
    path = ROOT / named.expanduser()
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no {what} {path}. Train it, name another, or choose arms without it.")
    return path


def _values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments as a model takes them: a path in one may begin with "~"."""
    return {
        name: str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value
        for name, value in options.items()
    }


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    def bare(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _settings(value)
        return [*map(bare, value)] if isinstance(value, list | tuple) else value

    return {name: bare(value) for name, value in options.items() if not _NO_SETTING.search(name)}
