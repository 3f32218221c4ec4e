"""A GGUF model inside this process, as a LangChain chat model."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, model_validator

from langchain_divconq._version import __version__
from langchain_divconq.errors import ConfigurationError, EngineError, GenerationCancelled
from langchain_divconq.llamacpp.engines import default_threads, load_engine
from langchain_divconq.llamacpp.engines.base import Completion, Engine, EngineName, EngineSettings, Request, Token
from langchain_divconq.llamacpp.engines.identity import fingerprint, model_name
from langchain_divconq.llamacpp.engines.pump import IsCancelled, aiterate, arun, iterate
from langchain_divconq.llamacpp.engines.stopping import Piece, StopFilter
from langchain_divconq.llamacpp.messages import (
    chat_roles,
    check_ranges,
    found_by_beams,
    openai_logprobs,
    read_options,
    usage_metadata,
)
from langchain_divconq.llamacpp.structured import structured_output
from langchain_divconq.llamacpp.weights import default_weights

_PROFILE: ModelProfile = {
    "open_weights": True,
    "text_inputs": True,
    "text_outputs": True,
    "image_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "tool_calling": False,
    "structured_output": True,
}


class ChatGGUF(BaseChatModel):
    """A GGUF model, run by llama.cpp inside this process.

    Constructing one touches no file. The model is loaded at the first call and shared by all objects of the process
    that ask for the same weights with the same settings. Calls may come from any thread and any event loop; one
    decodes at a time. Closing a stream, or cancelling a task, ends the decoding within a token.

    Each call takes `max_tokens`, `temperature`, `top_k`, `top_p`, `seed` and `stop` in place of the fields below, and
    `grammar` (GBNF), `response_format` ({"type": "json_object"} with an optional "schema", or {"type": "json_schema",
    "json_schema": {"schema": ...}}), `logprobs` and `top_logprobs`, which report as OpenAI does in
    `response_metadata["logprobs"]`, and `num_beams` (beam search, from 1 to 16 beams, at temperature 0; by
    llama-cpp-python alone). The reply is then the likeliest that was found, in one piece.
    With `logprobs`, `response_metadata["logprobs"]["beams"]` has all that were found, likeliest first: "text", "score"
    (the mean log-probability of the tokens, end included) and "logprobs".

    Example:
        ```python
        model = ChatGGUF(model_path="model.gguf", max_tokens=200)
        print(model.invoke("Name three lighthouses.").text)
        ```

    Raises:
        WeightsNotFoundError, InvalidWeightsError, AdapterMismatchError, EngineNotInstalledError: At the first call.
        ContextLengthError: The prompt does not fit in `n_ctx`.
        GrammarError: llama.cpp cannot use the grammar or schema.
        ConfigurationError: An option is unknown or out of range; when constructing, within pydantic's ValidationError.
        InvalidQuestionError: A message is not text, or calls a tool.
        ModelTimeoutError: `timeout` is over.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), use_attribute_docstrings=True
    )

    model_path: Path | None = None
    """The GGUF; None: the default weights (see `weights.default_weights`)."""

    adapter_path: Path | None = None
    """A LoRA adapter as GGUF, trained on that model."""

    engine: EngineName | None = None
    """"llama-cpp-python" or "xllamacpp"; None: the first of them that is installed."""

    n_ctx: int = 4096
    """Tokens of context, prompt and reply together; 0: what the model was trained with."""

    n_threads: int | None = None
    """Threads; None: one fewer than the cores this process may use (see `engines.default_threads`)."""

    n_slots: int = 2
    """Prompts whose processed state is kept, so that callers with different instructions do not evict each other's."""

    n_gpu_layers: int = 0
    """Layers to offload where the engine was built for an accelerator; -1: all."""

    max_tokens: int = 512
    """Most tokens of a reply."""

    temperature: float = 0.0
    """0 takes the likeliest token each time."""

    top_k: int = 0
    """Sample among so many of the likeliest tokens; 0: among all."""

    top_p: float = 1.0
    """Sample among the likeliest tokens that have so much probability together."""

    seed: int = 0
    """For sampling; the same seed gives the same reply."""

    stop: list[str] | None = None
    """Strings that end a reply, left out of it."""

    timeout: float | None = None
    """Seconds for a call, waiting for its turn included; None: no limit."""

    streaming: bool = False
    """Whether `invoke` streams to the callbacks."""

    @model_validator(mode="after")
    def _check_and_mark(self) -> Self:
        check_ranges({name: getattr(self, name) for name in type(self).model_fields})
        self._add_version("langchain-divconq", __version__)
        return self

    def _resolve_model_profile(self) -> ModelProfile:
        # With n_ctx=0 it is what the model was trained with, which is in the file.
        most_read: ModelProfile = {"max_input_tokens": self.n_ctx} if self.n_ctx else {}
        return {**_PROFILE, "max_output_tokens": self.max_tokens, **most_read}

    @property
    def _llm_type(self) -> str:
        return "llama.cpp"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # The fingerprint keeps a cache from answering for weights that were trained again.
        names = ("engine", "n_ctx", "max_tokens", "temperature", "top_k", "top_p", "seed", "stop")
        return {**self._names(), **{name: getattr(self, name) for name in names}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = "llama.cpp"
        params.setdefault("ls_model_name", self._names()["model_name"])
        return params

    def _names(self) -> dict[str, str]:
        """Return the model's name and a fingerprint of weights and adapter, for records: never fails."""
        try:
            settings = self._settings()
            marks = [fingerprint(path) for path in (settings.model_path, settings.adapter_path) if path is not None]
            name = model_name(settings.model_path)
        except (EngineError, OSError):
            return {"model_name": self.model_path.stem if self.model_path else "default", "system_fingerprint": ""}
        return {"model_name": name, "system_fingerprint": "+".join(mark[:12] for mark in marks)}

    def _settings(self) -> EngineSettings:
        return EngineSettings(
            model_path=self.model_path.expanduser() if self.model_path else default_weights(),
            adapter_path=self.adapter_path.expanduser() if self.adapter_path else None,
            n_ctx=self.n_ctx,
            n_threads=self.n_threads or default_threads(),
            n_slots=self.n_slots,
            n_gpu_layers=self.n_gpu_layers,
        )

    def _engine(self) -> Engine:
        return load_engine(self._settings(), self.engine)

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer several lists of messages, without blocking the event loop."""
        await asyncio.to_thread(self._names)  # LangChain asks for them on the loop: they are in memory then
        return await super().agenerate(*args, **kwargs)

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """Yield a reply as it is written, without blocking the event loop."""
        await asyncio.to_thread(self._names)
        async for chunk in super().astream(*args, **kwargs):
            yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """Return the model's own tokens for a text; special tokens spelled out in it are read as plain text."""
        return self._engine().tokenize(text, special=False)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return how many tokens of context the messages take, exactly: by the model's own chat template."""
        if tools:
            raise ConfigurationError("A GGUF chat model takes no tools.")
        engine = self._engine()
        return len(engine.tokenize(engine.render(chat_roles(messages))))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # In the caller's own thread: Ctrl-C then ends the decoding between two tokens.
        return self._call(messages, stop, kwargs).collect(lambda: False)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await arun(self._call(messages, stop, kwargs).collect)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        for part in iterate(call.run):
            chunk = call.chunk(part)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        async with aclosing(aiterate(call.run)) as parts:
            async for part in parts:
                chunk = call.chunk(part)
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _call(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> "_Call":
        defaults = {name: getattr(self, name) for name in ("max_tokens", "temperature", "top_k", "top_p", "seed")}
        request, ends = read_options({**defaults, "stop": self.stop if stop is None else stop}, kwargs)
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        return _Call(self, chat_roles(messages), request, ends, deadline)

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with keyword arguments bound, `response_format` among them; it calls no tools.

        Raises:
            ConfigurationError: There are tools.
        """
        if tools:
            raise ConfigurationError(
                f"A GGUF chat model calls no tools, and was given {len(tools)}. Give the agent another model, and this "
                "one to its DecompositionMiddleware or DecomposeTool; or ask for a response_format, which it follows."
            )
        return self.bind(**kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, method: str = "json_schema", **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return a runnable whose output follows a schema: decoding is held to it.

        The model is not told of the schema; describe the fields in the prompt.

        Args:
            schema: A pydantic class, a TypedDict or a JSON schema.
            include_raw: Return {"raw", "parsed", "parsing_error"} and raise nothing when parsing fails.
            method: "json_schema", also as "function_calling", for the model has no tools; "json_mode": any JSON object.
            kwargs: `strict` is accepted, for every schema is enforced.

        Raises:
            ConfigurationError: The method or an option is unknown.
        """
        return structured_output(self, schema, method, include_raw, kwargs)


@dataclass(frozen=True)
class _Call:
    """One call of a model, its options checked: nothing is loaded before it runs."""

    model: ChatGGUF
    roles: list[dict[str, str]]
    request: Request
    stop: tuple[str, ...]
    deadline: float | None

    def run(self, emit: Callable[[Piece | Completion], None], is_cancelled: IsCancelled) -> None:
        """Emit the reply's pieces, then how it ended."""
        engine = self.model._engine()
        request = replace(self.request, prompt=engine.render(self.roles))
        stopping = StopFilter(self.stop)

        def give_up() -> bool:
            return is_cancelled() or (self.deadline is not None and time.monotonic() > self.deadline)

        def on_token(token: Token) -> bool:
            if piece := stopping.feed(token):
                emit(piece)
            return stopping.stopped

        completion = engine.generate(request, on_token, give_up)
        if completion.finish_reason == "cancelled" and not stopping.stopped:
            if self.deadline is not None and not is_cancelled() and time.monotonic() > self.deadline:
                raise ModelTimeoutError(f"The reply was not complete after {self.model.timeout} seconds.")
            raise GenerationCancelled("The generation was cancelled.")
        if piece := stopping.finish():
            emit(piece)
        emit(completion)

    def collect(self, is_cancelled: IsCancelled) -> ChatResult:
        """Return the whole reply."""
        parts: list[Piece | Completion] = []
        self.run(parts.append, is_cancelled)
        *pieces, end = parts
        text = "".join(piece.text for piece in pieces if isinstance(piece, Piece))
        tokens = [token for piece in pieces if isinstance(piece, Piece) for token in piece.tokens]
        assert isinstance(end, Completion)
        metadata = {**self.ending(end), **openai_logprobs(tokens, found_by_beams(end, self.request))}
        message = AIMessage(text, usage_metadata=usage_metadata(end), response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def chunk(self, part: Piece | Completion) -> ChatGenerationChunk:
        """Return a part of the reply as a chunk of a stream."""
        if isinstance(part, Piece):
            message = AIMessageChunk(content=part.text, response_metadata=openai_logprobs(part.tokens))
        else:
            beams = openai_logprobs((), found_by_beams(part, self.request))
            usage, metadata = usage_metadata(part), {**self.ending(part), **beams}
            message = AIMessageChunk(
                content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last"
            )
        return ChatGenerationChunk(message=message)

    def ending(self, completion: Completion) -> dict[str, Any]:
        reason = "stop" if completion.finish_reason == "cancelled" else completion.finish_reason  # at a stop string
        return {**self.model._names(), "model_provider": "llama.cpp", "finish_reason": reason}
