"""The engine over xllamacpp: llama.cpp's own server, inside this process, from a prebuilt wheel."""

import http.client
import importlib
import json
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from langchain_divconq.errors import ContextLengthError, EngineError, GrammarError
from langchain_divconq.llamacpp.engines.base import (
    CLOSED,
    NO_NUMBERS,
    NO_PROMPT,
    NO_TEMPLATE,
    Completion,
    EngineName,
    EngineSettings,
    OnToken,
    Request,
    Token,
    TokenLogprob,
)
from langchain_divconq.llamacpp.engines.gbnf import check_grammar
from langchain_divconq.llamacpp.engines.gguf import GgufHeader, read_array, read_header
from langchain_divconq.llamacpp.engines.prompt import Prompt, Specials
from langchain_divconq.llamacpp.engines.pump import or_ending
from langchain_divconq.llamacpp.engines.turn import Turn

# Below 64 tokens, and with flash attention, cached state does not change a single bit of what bare weights compute
# (measured: SmolLM2, CPU). With an adapter it does, so nothing is cached then, and a prompt is read in large pieces.
BATCH = 32
ADAPTED_BATCH = 256


class XllamacppEngine:
    """One model in xllamacpp. Safe to call from any thread; one generation runs at a time.

    The wheel always opens an HTTP listener on a free port of 127.0.0.1. It is locked with a random key; this class uses
    it to tokenise and to apply the chat template, for which there is no call in the process, and for nothing else.

    Raises:
        EngineError: llama.cpp does not load the model.
    """

    name: EngineName = "xllamacpp"

    def __init__(self, settings: EngineSettings, *, check_tensors: bool = False) -> None:
        lib: Any = importlib.import_module("xllamacpp")
        header = read_header(settings.model_path)
        self.n_ctx = settings.n_ctx or header.context_length or 4096
        self._turn = Turn()
        self._key = secrets.token_hex()
        self._header = header
        self._specials = Specials(header)
        self._vocabulary: list[str] | None = None
        self._bos = ""
        if header.metadata.get("tokenizer.ggml.add_bos_token"):
            self._bos = self._spelling(header.integer("tokenizer.ggml.bos_token_id"))
        params = lib.CommonParams()
        params.model.path = str(settings.model_path)
        if settings.adapter_path is not None:
            params.lora_adapters = [lib.CommonAdapterLoraInfo(str(settings.adapter_path), 1.0)]
        params.n_ctx = self.n_ctx
        self._caches = settings.adapter_path is None
        params.n_batch = params.n_ubatch = BATCH if self._caches else ADAPTED_BATCH
        params.flash_attn_type = lib.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.n_threads
        params.n_gpu_layers = settings.n_gpu_layers
        params.check_tensors = check_tensors
        params.n_parallel = 1  # prompts batched together would change one another's last bits
        params.cache_ram_mib = cache_mib(header, self.n_ctx, settings.n_slots)
        params.fit_params = params.warmup = params.ui = params.prefill_assistant = False
        params.verbosity = -1
        params.api_keys = [self._key]
        try:
            self._server: Any = lib.Server(params)
        except Exception as error:  # the wheel documents no class of its own
            raise EngineError(f"xllamacpp does not load {settings.model_path}: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        """Return the prompt for chat messages; see `Engine.render`."""
        if not self._header.text("tokenizer.chat_template"):
            raise EngineError(NO_TEMPLATE)
        shielded, mark = self._specials.shield(messages)
        reply = self._post("/apply-template", {"messages": shielded})
        return Prompt(str(reply["prompt"]).removeprefix(self._bos), mark)

    def tokenize(self, text: str | Prompt, *, special: bool = True) -> list[int]:
        """Return token ids; `special`: as a prompt is read."""
        return self._specials.tokens(text, self._tokens, self._bos, special=special)

    def _tokens(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    def _prompt(self, prompt: str | Prompt) -> str | list[int]:
        if isinstance(prompt, Prompt) and prompt.mark:
            return self.tokenize(prompt)
        return (prompt.text if isinstance(prompt, Prompt) else prompt).removeprefix(self._bos)

    def generate(self, request: Request, on_token: OnToken, is_cancelled: Callable[[], bool]) -> Completion:
        """Complete a prompt, token by token; see `Engine.generate`."""
        is_cancelled = or_ending(is_cancelled)
        if request.grammar is not None:
            check_grammar(request.grammar)
        prompt = self._prompt(request.prompt)
        if not prompt:
            raise EngineError(NO_PROMPT)
        with self._turn.taken(is_cancelled) as held:
            if not held:
                return Completion("cancelled", 0, 0, 0)
            run = _Run(request, self.n_ctx, on_token, is_cancelled, self._spelling)
            self._complete({**_body(request, prompt), "cache_prompt": self._caches}, run)
            return run.result()

    def close(self) -> None:
        """Free the model. Waits for a generation that is under way."""
        with self._turn.taken():
            self._server = None

    def _complete(self, body: Mapping[str, Any], run: "_Run") -> None:
        server = self._live()
        if threading.current_thread() is not threading.main_thread():
            server.handle_completions(body, run)
            return
        # Signals are delivered to the main thread, between any two steps of Python: in the callback's first one, say,
        # whose exceptions the server prints and forgets. So the main thread waits where Ctrl-C can reach it.
        thread = threading.Thread(target=server.handle_completions, args=(body, run), daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.1)
        except BaseException:
            run.reason = "cancelled"
            thread.join()
            raise

    def _live(self) -> Any:
        if self._server is None:
            raise EngineError(CLOSED)
        return self._server

    def _spelling(self, token: int | None) -> str:
        if self._vocabulary is None:
            self._vocabulary = read_array(self._header, "tokenizer.ggml.tokens")
        return self._vocabulary[token] if token is not None and 0 <= token < len(self._vocabulary) else ""

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self._live().listening_address).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            reply = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EngineError(f"xllamacpp does not answer at {path}: {error}") from error
        finally:
            connection.close()
        if "error" in reply:
            raise EngineError(f"xllamacpp refuses {path}: {reply['error'].get('message', reply['error'])}")
        return reply


class _Run:
    """What the server calls with each chunk of one completion; returning True stops it there."""

    def __init__(
        self,
        request: Request,
        n_ctx: int,
        on_token: OnToken,
        is_cancelled: Callable[[], bool],
        spelling: Callable[[int], str],
    ) -> None:
        self.request, self.n_ctx = request, n_ctx
        self.on_token, self.is_cancelled, self.spelling = on_token, is_cancelled, spelling
        self.reason: Literal["stop", "length", "cancelled"] | None = None
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.failure: BaseException | None = None

    def __call__(self, chunk: Any) -> bool:
        try:
            self.take(chunk)
        except BaseException as error:  # raised again in `result`: the server would swallow it
            self.failure = error
        return self.failure is not None or self.reason is not None

    def take(self, chunk: Mapping[str, Any]) -> None:
        if "error" in chunk:
            raise _failure(chunk["error"], self.n_ctx)
        progress = chunk.get("prompt_progress")
        if progress is not None:
            self.prompt_tokens, self.cached_tokens = progress["total"], progress["cache"]
            if self.prompt_tokens >= self.n_ctx:  # llama.cpp rounds the context up and would take it
                raise ContextLengthError(self.prompt_tokens, self.n_ctx)
        choice = chunk["choices"][0]
        if usage := chunk.get("usage"):
            self.prompt_tokens = usage["prompt_tokens"]
            self.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
            self.reason = "stop" if choice["finish_reason"] == "stop" else "length"
            self.completion_tokens = usage["completion_tokens"] - (self.reason == "stop")
        elif self.is_cancelled():
            self.reason = "cancelled"
        elif choice["text"]:
            self.completion_tokens = chunk["timings"]["predicted_n"]
            if self.on_token(self.token(choice)):
                self.reason = "cancelled"
            elif self.prompt_tokens + self.completion_tokens >= self.n_ctx:
                self.reason = "length"

    def token(self, choice: Mapping[str, Any]) -> Token:
        if self.request.top_logprobs is None:
            return Token(choice["text"])
        entry = choice["logprobs"]["content"][0]
        top = entry["top_logprobs"][: self.request.top_logprobs]
        return Token(choice["text"], self.logprob(entry), tuple(self.logprob(other) for other in top))

    def logprob(self, entry: Mapping[str, Any]) -> TokenLogprob:
        # The server shows special tokens as empty text.
        text = entry["token"] if entry["bytes"] else self.spelling(entry["id"])
        if entry["logprob"] is None or math.isnan(entry["logprob"]):
            raise EngineError(NO_NUMBERS)
        return TokenLogprob(text, float(entry["logprob"]))

    def result(self) -> Completion:
        if self.failure is not None:
            raise self.failure
        if self.reason is None:
            raise EngineError("xllamacpp ended the reply without saying why.")
        return Completion(self.reason, self.prompt_tokens, self.cached_tokens, self.completion_tokens)


def _body(request: Request, prompt: str | list[int]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "seed": request.seed,
        # Everything else that shapes the distribution is off, so that both engines sample from the same one.
        "samplers": ["top_k", "top_p", "temperature"],
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "post_sampling_probs": False,
        "stream": True,
        "return_progress": True,  # chances to cancel while the prompt is processed
        "timings_per_token": True,  # counts tokens; several may share one chunk
    }
    if request.grammar is not None:
        body["grammar"] = request.grammar
    if request.top_logprobs is not None:
        body["n_probs"] = max(request.top_logprobs, 1)
    return body


def _failure(error: Mapping[str, Any], n_ctx: int) -> EngineError:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return ContextLengthError(int(error["n_prompt_tokens"]), n_ctx)
    if "grammar" in message:
        return GrammarError(f"llama.cpp refused the grammar: {message}")
    return EngineError(f"xllamacpp: {message}")


def cache_mib(header: GgufHeader, n_ctx: int, n_slots: int) -> int:
    """Return the MiB of `n_slots` contexts of 16-bit keys and values, to bound the server's store, by default 8 GiB."""
    family = header.architecture
    layers = header.integer(f"{family}.block_count") or 32
    width = header.integer(f"{family}.embedding_length") or 4096
    heads = header.integer(f"{family}.attention.head_count") or 32
    heads_kv = header.integer(f"{family}.attention.head_count_kv") or heads
    key = header.integer(f"{family}.attention.key_length") or width // heads
    value = header.integer(f"{family}.attention.value_length") or width // heads
    return max(1, math.ceil(n_slots * n_ctx * layers * heads_kv * (key + value) * 2 / 2**20))
