"""Seconds for a decomposition, ours beside the bare engine and beside langchain-community, in the same process.

Every comparison takes turns (ours, theirs, ours …) question by question, so a machine that slows down slows both.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.grammar import MAX_TOKENS, decomposition_grammar
from langchain_divconq.llamacpp.engines import default_threads, load_engine
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.llamacpp.messages import chat_roles
from langchain_divconq.llamacpp.weights import default_adapter, default_weights
from langchain_divconq.prompts import decomposition_prompt
from langchain_divconq.types import Question
from tests.benchmarks.interval import Interval, middle, ratio
from tests.benchmarks.questions import questions

Row = dict[str, Any]

WARM_QUESTIONS = 12
N_CTX = 4096
GRAMMAR = decomposition_grammar(3, allow_none=False)
PLAN_TOKENS = 3 * MAX_TOKENS
OTHER_INSTRUCTIONS = (
    "You are the help desk of a museum of bridges. Answer visitors kindly and in at most two sentences. Opening hours "
    "are nine to five, on Mondays closed. Children pay half. Dogs stay outside. The lift is out of order until spring. "
    "Guided tours begin at eleven and at three by the model of the old drawbridge. Never give legal or medical advice."
)


def shipped(engine: EngineName) -> Decomposer:
    """Return the decomposer that ships, on this engine; it divides every question."""
    return Decomposer(
        model=ChatGGUF(engine=engine, adapter_path=default_adapter()), prompt_style="student", gate="always"
    )


def latency(engine: EngineName) -> Row:
    """Seconds to the first decomposition in a fresh process, and afterwards."""
    decomposer = shipped(engine)
    first, *rest = questions(WARM_QUESTIONS + 1, seed=1)
    cold = _seconds(partial(decomposer.invoke, first))
    warm = [_seconds(partial(decomposer.invoke, question)) for question in rest]
    return {"n": len(warm), "cold_s": cold, "warm_p50_s": middle(warm), "warm_p95_s": quantiles(warm, n=20)[-1]}


def overhead(engine: EngineName) -> Row:
    """Ours against the bare engine: the same prompt, the same grammar, the same tokens."""
    # The weights alone: the bare engine has no adapter.
    model = ChatGGUF(model_path=default_weights(), engine=engine)
    decomposer = Decomposer(model=model, gate="always", max_subquestions=3)
    render = load_engine(model._settings(), engine).render
    bare = _bare_llama_cpp() if engine == "llama-cpp-python" else _bare_xllamacpp()
    asked = questions(WARM_QUESTIONS + 2, seed=2)
    rows: list[tuple[float, dict[str, float], int, int]] = []
    for question in asked:
        prompt = render(chat_roles(decomposition_prompt(question, 3, "one_shot")))
        start = time.perf_counter()
        plan = decomposer.invoke(question)
        seconds = time.perf_counter() - start
        theirs, same = bare(prompt.text, plan.text)
        rows.append((seconds, theirs, plan.usage.output_tokens, same))
    compared = [row for row in rows[2:] if row[3]]  # the first two load and warm both
    ours = [row[0] for row in compared]
    tokens = sum(row[2] for row in compared)
    result: Row = {"n": len(compared), "other_plans": len(rows) - 2 - len(compared), "tokens": tokens}
    result["tokens_per_s"] = tokens / sum(ours)
    for name in rows[0][1]:
        result[f"ratio_to_{name}"] = ratio(ours, [row[1][name] for row in compared])
    return result


def _bare_llama_cpp() -> Callable[[str, str], tuple[dict[str, float], int]]:
    """Return the same work done by llama-cpp-python's own class, and by nothing but forward passes."""
    import llama_cpp

    # Batches and attention as ours: with others, llama.cpp rounds differently and writes other tokens.
    threads = default_threads()
    same: Row = {"n_ctx": N_CTX, "n_batch": 32, "n_ubatch": 32, "flash_attn": True, "verbose": False}
    llama, passes = (
        llama_cpp.Llama(str(default_weights()), n_threads=threads, n_threads_batch=threads, **same) for _ in range(2)
    )
    grammar = llama_cpp.LlamaGrammar.from_string(GRAMMAR, verbose=False)
    held: list[int] = []

    def work(prompt: str, plan: str) -> tuple[dict[str, float], int]:
        ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
        start = time.perf_counter()
        completion = llama.create_completion(ids, max_tokens=PLAN_TOKENS, temperature=0, grammar=grammar)
        class_ = time.perf_counter() - start
        text = completion["choices"][0]["text"]

        reply = passes.tokenize(plan.encode(), add_bos=False, special=False)
        shared = next((n for n, (a, b) in enumerate(zip(held, ids[:-1], strict=False)) if a != b), 0)
        start = time.perf_counter()
        passes.n_tokens = shared
        passes.eval(ids[shared:])
        for token in reply:
            passes.eval([token])
        forward = time.perf_counter() - start
        held[:] = ids
        return {"llama_class": class_, "forward_passes_alone": forward}, int(text == plan)

    return work


def _bare_xllamacpp() -> Callable[[str, str], tuple[dict[str, float], int]]:
    """Return the same work done by xllamacpp's server object."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(default_weights())
    params.n_ctx, params.n_parallel = N_CTX, 1
    params.n_batch = params.n_ubatch = 32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = default_threads()
    params.verbosity = -1
    params.warmup = params.ui = params.fit_params = False
    server = xllamacpp.Server(params)

    def work(prompt: str, plan: str) -> tuple[dict[str, float], int]:
        request = {"prompt": prompt, "n_predict": PLAN_TOKENS, "temperature": 0, "grammar": GRAMMAR}
        start = time.perf_counter()
        reply = server.handle_completions(request)
        seconds = time.perf_counter() - start
        return {"server_object": seconds}, int(reply["choices"][0]["text"] == plan)

    return work


def community(_: EngineName) -> Row:
    """Ours against langchain-community's ChatLlamaCpp: one instruction, then two that alternate.

    ChatLlamaCpp forces a rope base on every model, so its replies differ; seconds a token are compared.
    """
    ours = ChatGGUF(engine="llama-cpp-python", max_tokens=48)
    with _deprecations_ignored():
        from langchain_community.chat_models import ChatLlamaCpp

        theirs = ChatLlamaCpp(
            model_path=str(default_weights()),
            n_ctx=N_CTX,
            n_threads=default_threads(),
            model_kwargs={"n_threads_batch": default_threads()},  # or its prompts get every core
            temperature=0,
            max_tokens=48,
            verbose=False,
        )
    asked = questions(WARM_QUESTIONS, seed=3)
    plans = [decomposition_prompt(question, 3, "one_shot") for question in asked]
    return {
        "n": len(asked),
        "one_instruction_ratio": _per_token(ours, theirs, plans),
        "alternating_ratio": _per_token(ours, theirs, list(_alternating(asked))),
    }


def alternating(engine: EngineName) -> Row:
    """What a second caller with other instructions costs: prompts alternating, against the same prompts in two runs."""
    asked = questions(WARM_QUESTIONS, seed=4)
    model = ChatGGUF(engine=engine, max_tokens=24)
    mixed = list(_alternating(asked))
    for prompt in mixed[:4]:
        model.invoke(prompt)
    unmixed = mixed[0::2] + mixed[1::2]
    apart = {id(prompt): _seconds(partial(model.invoke, prompt)) for prompt in unmixed}
    together = [_seconds(partial(model.invoke, prompt)) for prompt in mixed]
    return {"n": len(mixed), "ratio_to_unmixed": ratio(together, [apart[id(prompt)] for prompt in mixed])}


def grammar(engine: EngineName) -> Row:
    """What the grammar costs: seconds a token with it and without, the prompt's state at hand in both."""
    asked = questions(WARM_QUESTIONS, seed=5)
    model = ChatGGUF(engine=engine, max_tokens=48)
    held = model.bind(grammar=GRAMMAR)
    with_it, without = [], []
    for question in asked:
        prompt = decomposition_prompt(question, 3, "one_shot")
        model.invoke(prompt)
        times = [_seconds_per_token(runnable, prompt) for runnable in (held, model, held, model)]
        with_it.append(times[0] + times[2])
        without.append(times[1] + times[3])
    return {"n": len(asked), "ratio_to_none": ratio(with_it, without)}


def _alternating(asked: list[Question]) -> Iterator[list[BaseMessage]]:
    for question in asked[: len(asked) // 2]:
        yield decomposition_prompt(question, 3, "one_shot")
        yield [SystemMessage(OTHER_INSTRUCTIONS), HumanMessage(question.text)]


def _per_token(ours: Any, theirs: Any, prompts: list[list[BaseMessage]]) -> Interval:
    times: tuple[list[float], list[float]] = ([], [])
    for prompt in [*prompts[:2], *prompts]:
        for kept, model in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            reply = model.invoke(prompt)
            kept.append((time.perf_counter() - start) / max(1, ours.get_num_tokens(str(reply.text))))
    return ratio(times[0][2:], times[1][2:])  # the first two load and warm both


def _seconds_per_token(model: Any, prompt: list[BaseMessage]) -> float:
    start = time.perf_counter()
    reply = model.invoke(prompt)
    return float((time.perf_counter() - start) / reply.usage_metadata["output_tokens"])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _deprecations_ignored() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


RESULTS = Path(__file__).parent / "results"
