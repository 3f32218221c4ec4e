"""The engine over llama-cpp-python, by its low-level bindings.

Not over its `Llama` class, which has no lock (two threads end the process), redirects the process's file descriptors
while it loads, asks a grammar about the whole vocabulary at every token, and computes log-probabilities only with
the logits of every prompt token kept.
"""

import codecs
import contextlib
import ctypes
import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_divconq.errors import AdapterMismatchError, ContextLengthError, EngineError, InvalidWeightsError
from langchain_divconq.llamacpp.engines._beams import Beams, Step
from langchain_divconq.llamacpp.engines._logging import last_complaint, route_log
from langchain_divconq.llamacpp.engines._pieces import LARGEST, cut, last_cut, shared
from langchain_divconq.llamacpp.engines._sampling import Sampler, describe, told
from langchain_divconq.llamacpp.engines.base import (
    CLOSED,
    NO_NUMBERS,
    NO_PROMPT,
    NO_TEMPLATE,
    Completion,
    EngineName,
    EngineSettings,
    FoundReply,
    OnToken,
    Request,
)
from langchain_divconq.llamacpp.engines.gbnf import check_grammar
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.prompt import Prompt, Specials
from langchain_divconq.llamacpp.engines.pump import or_ending
from langchain_divconq.llamacpp.engines.turn import Turn


@dataclass
class _Slot:
    """A sequence in llama.cpp's memory: the tokens whose state it holds.

    The first `whole` of them were read in whole pieces of a prompt.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    whole: int = 0
    used: int = 0


class LlamaCppEngine:
    """One model in llama-cpp-python. Safe to call from any thread; one generation runs at a time.

    Log messages of llama.cpp go to the logger "langchain_divconq.llama_cpp" at DEBUG, for the whole process: llama.cpp
    has one log.

    Raises:
        InvalidWeightsError: llama.cpp does not load the model.
        AdapterMismatchError: llama.cpp does not load the adapter.
        EngineError: The context cannot be made, for lack of memory say.
    """

    name: EngineName = "llama-cpp-python"

    def __init__(self, settings: EngineSettings, *, plain: bool = False, check_tensors: bool = False) -> None:
        self._lib: Any = importlib.import_module("llama_cpp")
        self._np: Any = importlib.import_module("numpy")
        self._formatter: Any = None
        self._model: Any = None
        self._context: Any = None
        self._adapter: Any = None
        self._batch: Any = None
        self._beams: Beams | None = None
        self._specials = Specials(read_header(settings.model_path))
        self._turn = Turn()
        self._reading = threading.Lock()  # the vocabulary is read outside turns; it must not be freed meanwhile
        self._clock = 0
        route_log(self._lib)
        try:
            self._load(settings, plain, check_tensors)
        except BaseException:
            self.close()
            raise
        self._slots = [_Slot(number) for number in range(settings.n_slots)]

    def _load(self, settings: EngineSettings, plain: bool, check_tensors: bool) -> None:
        lib = self._lib
        params = lib.llama_model_default_params()
        params.n_gpu_layers = settings.n_gpu_layers
        params.check_tensors, params.use_extra_bufts = check_tensors, not plain
        self._model = lib.llama_model_load_from_file(str(settings.model_path).encode(), params)
        if not self._model:
            raise InvalidWeightsError(f"llama.cpp does not load {settings.model_path}: {last_complaint()}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._n_vocab = int(lib.llama_vocab_n_tokens(self._vocab))
        self.n_ctx = settings.n_ctx or int(lib.llama_model_n_ctx_train(self._model))
        options = lib.llama_context_default_params()
        options.n_ctx = self.n_ctx * settings.n_slots
        options.n_seq_max = settings.n_slots
        options.n_batch = options.n_ubatch = LARGEST
        options.n_threads = options.n_threads_batch = settings.n_threads
        options.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        options.kv_unified = False
        options.no_perf = True
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise EngineError(
                f"llama.cpp cannot make {settings.n_slots} contexts of {self.n_ctx} tokens: {last_complaint()} "
                "Lower n_ctx or n_slots."
            )
        if settings.adapter_path is not None:
            self._adapter = lib.llama_adapter_lora_init(self._model, str(settings.adapter_path).encode())
            if not self._adapter:
                raise AdapterMismatchError(f"llama.cpp does not load {settings.adapter_path}: {last_complaint()}")
        self._adapt(self._context)
        self._n_threads = settings.n_threads
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(LARGEST, 0, 1)
        self._bos = ""
        if lib.llama_vocab_get_add_bos(self._vocab):
            self._bos = self._spelling(lib.llama_vocab_bos(self._vocab))

    def _adapt(self, context: Any) -> None:
        """Let a context of the model use its adapter, if there is one."""
        if self._adapter is None:
            return
        kind = self._lib.llama_adapter_lora_p_ctypes
        adapters = (kind * 1)(ctypes.cast(self._adapter, kind))
        if self._lib.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)) != 0:
            raise AdapterMismatchError(f"llama.cpp does not apply the adapter: {last_complaint()}")

    def render(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        """Return the prompt for chat messages; see `Engine.render`."""
        shielded, mark = self._specials.shield(messages)
        try:
            with self._reading:
                self._check_open()
                if self._formatter is None:
                    self._formatter = self._make_formatter()
            text = str(self._formatter(messages=shielded).prompt)
        except EngineError:
            raise
        except Exception as error:  # a template may raise anything, when it is read and when it is used
            raise EngineError(f"The model's chat template refuses these messages: {error}") from error
        return Prompt(text.removeprefix(self._bos), mark)  # `tokenize` puts it there

    def tokenize(self, text: str | Prompt, *, special: bool = True) -> list[int]:
        """Return token ids; `special`: as a prompt is read."""
        return self._specials.tokens(text, self._tokens, self._bos, special=special)

    def _tokens(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        size = len(data) + 8
        with self._reading:
            self._check_open()
            while True:
                tokens = (self._lib.llama_token * size)()
                count = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, size, add_special, parse_special)
                if count >= 0:
                    return list(tokens[:count])
                size = -count

    def generate(self, request: Request, on_token: OnToken, is_cancelled: Callable[[], bool]) -> Completion:
        """Complete a prompt, token by token; see `Engine.generate`."""
        is_cancelled = or_ending(is_cancelled)
        if request.grammar is not None:
            check_grammar(request.grammar)
        prompt = self.tokenize(request.prompt)
        if not prompt:
            raise EngineError(NO_PROMPT)
        if len(prompt) >= self.n_ctx:
            raise ContextLengthError(len(prompt), self.n_ctx)
        with self._turn.taken(is_cancelled) as held:
            if not held:
                return Completion("cancelled", len(prompt), 0, 0)
            self._check_open()
            sampler = Sampler(self._vocab, self._n_vocab, request)
            try:
                if request.num_beams > 1 and request.temperature == 0:
                    return self._search(request, prompt, sampler, on_token, is_cancelled)
                slot, cached = self._choose_slot(prompt)
                try:
                    reason, count = self._run(request, prompt, slot, sampler, on_token, is_cancelled)
                except BaseException:
                    self._trim(slot, 0)  # what llama.cpp holds of it is unknown now
                    raise
            finally:
                sampler.close()
        return Completion(reason, len(prompt), cached, count)

    def close(self) -> None:
        """Free the model. Waits for a generation that is under way."""
        with self._turn.taken(), self._reading:
            lib = self._lib
            if self._beams is not None:
                self._beams.close()
            if self._batch is not None:
                lib.llama_batch_free(self._batch)
            if self._context:
                lib.llama_free(self._context)
            if self._model:
                lib.llama_model_free(self._model)  # and its adapters
            self._batch = self._context = self._model = self._adapter = self._beams = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be half gone
            self.close()

    def _make_formatter(self) -> Any:
        template = self._lib.llama_model_chat_template(self._model, None)
        if not template:
            raise EngineError(NO_TEMPLATE)
        ends = self._lib.llama_vocab_eos(self._vocab), self._lib.llama_vocab_bos(self._vocab)
        texts = ["" if token < 0 else self._spelling(token) for token in ends]
        chat_format: Any = importlib.import_module("llama_cpp.llama_chat_format")
        return chat_format.Jinja2ChatFormatter(template.decode(), *texts)

    def _check_open(self) -> None:
        if self._model is None:
            raise EngineError(CLOSED)

    def _run(
        self,
        request: Request,
        prompt: list[int],
        slot: _Slot,
        sampler: Sampler,
        on_token: OnToken,
        is_cancelled: Callable[[], bool],
    ) -> tuple[Literal["stop", "length", "cancelled"], int]:
        while len(slot.tokens) < len(prompt):
            if is_cancelled():
                return "cancelled", 0
            start = len(slot.tokens)
            self._decode(slot, prompt[start : cut(start)])
        slot.whole = last_cut(len(prompt))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        limit = min(request.max_tokens, self.n_ctx - len(prompt))
        for count in range(limit):
            if is_cancelled():
                return "cancelled", count
            logits = self._logits()
            token = sampler.sample(logits)
            if self._lib.llama_vocab_is_eog(self._vocab, token):
                return "stop", count
            text = decoder.decode(self._piece(token, special=False))
            if on_token(describe(token, text, logits, request.top_logprobs, self._spelling)):
                return "cancelled", count + 1
            if count + 1 < limit:
                sampler.accept(token)
                self._decode(slot, [token])
        return "length", limit

    def _search(
        self,
        request: Request,
        prompt: list[int],
        sampler: Sampler,
        on_token: OnToken,
        is_cancelled: Callable[[], bool],
    ) -> Completion:
        """Complete a prompt by beam search: nothing is reported before the search is over."""
        if self._beams is None:
            self._beams = Beams(self._model, self._vocab, self._n_vocab, self._adapt, self._n_threads)
        limit = min(request.max_tokens, self.n_ctx - len(prompt))
        found = self._beams.search(prompt, sampler, request.num_beams, limit, is_cancelled)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        reason, steps = found.reason, found.steps
        for count, step in enumerate(found.steps, start=1):
            text = decoder.decode(self._piece(step.token, special=False))
            if on_token(told(step.token, text, step.logprob, step.top, request.top_logprobs, self._spelling)):
                reason, steps = "cancelled", steps[:count]
                break
        replies = tuple(map(self._reply, found.ended))
        return Completion(reason, len(prompt), found.cached, len(steps), replies)

    def _reply(self, end: Step) -> FoundReply:
        steps = end.whole()[:-1]
        text = b"".join(self._piece(step.token, special=False) for step in steps).decode(errors="replace")
        return FoundReply(text, end.score, tuple(step.logprob for step in steps))

    def _choose_slot(self, prompt: list[int]) -> tuple[_Slot, int]:
        """Return the slot to use, trimmed to what it shares with the prompt, and how much that is.

        The slot that shares most, unless more would be thrown away there than is saved against the slot that has rested
        longest: two callers with a few words in common would drive each other out otherwise.
        """
        usable = {slot.sequence: shared(slot.tokens[: slot.whole], prompt) for slot in self._slots}
        best = max(self._slots, key=lambda slot: (usable[slot.sequence], -slot.used))
        rested = min(self._slots, key=lambda slot: slot.used)
        saved = usable[best.sequence] - usable[rested.sequence]
        slot = rested if saved < len(best.tokens) - usable[best.sequence] else best
        self._clock += 1
        slot.used = self._clock
        self._trim(slot, usable[slot.sequence])
        return slot, len(slot.tokens)

    def _trim(self, slot: _Slot, length: int) -> None:
        # Some kinds of memory (recurrent ones) cannot go back to an earlier place, only to the beginning.
        if length and not self._lib.llama_memory_seq_rm(self._memory, slot.sequence, length, -1):
            length = 0
        if not length:
            self._lib.llama_memory_seq_rm(self._memory, slot.sequence, -1, -1)
        del slot.tokens[length:]
        slot.whole = length

    def _decode(self, slot: _Slot, tokens: list[int]) -> None:
        batch, start = self._batch, len(slot.tokens)
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place] = token
            batch.pos[place] = start + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = slot.sequence
            batch.logits[place] = place == len(tokens) - 1
        code = self._lib.llama_decode(self._context, batch)
        if code != 0:
            raise EngineError(f"llama.cpp failed on {len(tokens)} tokens at {start} (code {code}): {last_complaint()}")
        slot.tokens += tokens

    def _logits(self) -> Any:
        logits = self._np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, -1), (self._n_vocab,))
        if self._np.isnan(logits.max()):
            raise EngineError(NO_NUMBERS)
        return logits

    def _spelling(self, token: int) -> str:
        return self._piece(token, special=True).decode(errors="replace")

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count
