import asyncio
import gc
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import ValidationError

from langchain_divconq.errors import ConfigurationError, ContextLengthError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.base import EngineSettings
from langchain_divconq.llamacpp.engines.json_schema import schema_grammar
from tests.gguf_writer import write_adapter, write_model
from tests.unit_tests.chains import total
from tests.unit_tests.fake_engine import WORDS, FakeEngine, install
from tests.unit_tests.fakes import ticks_during


class TestStandard(ChatModelUnitTests):
    chat_model_class = ChatGGUF

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # Without max_retries: nothing here fails for a moment only.
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": []}

    has_tool_calling = False
    has_structured_output = True
    supports_model_override = False


def test_constructing_touches_no_file_and_no_engine(engine: FakeEngine) -> None:
    model = ChatGGUF(model_path=Path("no/such/file.gguf"), adapter_path=Path("nor/this.gguf"))
    assert engine.requests == []
    assert model._llm_type == "llama.cpp"
    assert not model.is_lc_serializable()
    assert model._get_ls_params()["ls_model_name"] == "file"
    assert model.metadata is not None
    assert "langchain-divconq" in model.metadata["lc_versions"]


def test_the_profile_says_what_it_can_do_and_how_much() -> None:
    profile = ChatGGUF(n_ctx=2048, max_tokens=100).profile
    assert profile is not None
    assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (2048, 100)
    assert (profile["tool_calling"], profile["structured_output"]) == (False, True)
    assert "max_input_tokens" not in (ChatGGUF(n_ctx=0).profile or {})
    assert ChatGGUF(profile={"max_input_tokens": 7}).profile == {"max_input_tokens": 7}


def test_a_reply_carries_text_usage_and_how_it_ended(engine: FakeEngine) -> None:
    message = ChatGGUF().invoke("What colour is the sky?")
    assert message.text == "The sky is blue."
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 5
    assert message.usage_metadata["input_token_details"] == {"cache_read": 1}
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_provider"] == "llama.cpp"


def test_a_reply_at_the_limit_says_so(engine: FakeEngine) -> None:
    message = ChatGGUF(max_tokens=2).invoke("x")
    assert (message.text, message.response_metadata["finish_reason"]) == ("The sky", "length")


async def test_every_way_of_asking_gives_the_same_reply(engine: FakeEngine) -> None:
    model = ChatGGUF().bind(logprobs=True, top_logprobs=2)
    whole = model.invoke("x")

    streams = total(list(model.stream("x"))), total([chunk async for chunk in model.astream("x")])
    for other in (await model.ainvoke("x"), *streams):
        assert other.text == whole.text
        assert other.usage_metadata == whole.usage_metadata
        assert other.response_metadata == whole.response_metadata
    assert whole.response_metadata["logprobs"]["content"][1] == {
        "token": " sky",
        "logprob": -2.0,
        "top_logprobs": [{"token": "other0", "logprob": -2.0}, {"token": "other1", "logprob": -3.0}],
    }


async def test_what_beams_found_stands_beside_the_log_probabilities(engine: FakeEngine) -> None:
    model = ChatGGUF().bind(logprobs=True, num_beams=2)
    whole = model.invoke("x")
    assert whole.response_metadata["logprobs"]["beams"] == [
        {"text": "The sky is blue.", "score": -1.5, "logprobs": [-1.0, -2.0]},
        {"text": "Yes.", "score": -2.0, "logprobs": [-2.0]},
    ]
    for other in (await model.ainvoke("x"), total(list(model.stream("x")))):
        assert (other.text, other.response_metadata) == (whole.text, whole.response_metadata)
    for other in (ChatGGUF().invoke("x", num_beams=2), model.invoke("x", num_beams=1)):
        assert "beams" not in other.response_metadata.get("logprobs", {})


def test_a_stream_reports_usage_on_its_last_chunk_alone(engine: FakeEngine) -> None:
    *chunks, last = ChatGGUF().stream("x")
    assert [chunk.text for chunk in chunks] == WORDS
    assert all(chunk.usage_metadata is None and chunk.response_metadata == {} for chunk in chunks)
    assert last.usage_metadata is not None
    assert last.response_metadata["model_name"] == "default"
    assert isinstance(last, AIMessageChunk)
    assert last.chunk_position == "last"


def test_callbacks_see_every_token_and_the_usage(engine: FakeEngine) -> None:
    class Listener(BaseCallbackHandler):
        tokens: list[str] = []  # noqa: RUF012

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.tokens.append(token)

    usage, listener = UsageMetadataCallbackHandler(), Listener()
    for _ in ChatGGUF().stream("x", config={"callbacks": [usage, listener]}):
        pass
    assert listener.tokens == [*WORDS, ""]
    assert usage.usage_metadata["default"]["output_tokens"] == 5


def test_options_of_a_call_reach_the_engine(engine: FakeEngine) -> None:
    model = ChatGGUF(temperature=0.5, top_k=5, seed=1)
    model.invoke("x", max_tokens=3, temperature=0.7, top_p=0.9, seed=2, grammar='root ::= "a"', top_logprobs=4)
    request = engine.requests[0]
    assert (request.max_tokens, request.temperature, request.top_k, request.top_p, request.seed) == (3, 0.7, 5, 0.9, 2)
    assert (request.grammar, request.top_logprobs) == ('root ::= "a"', 4)


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "json_object"}, '{"type": "object"}'),
        ({"type": "json_object", "schema": {"type": "null"}}, '{"type": "null"}'),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1]}}},
            '{"enum": [1]}',
        ),
        ({"type": "text"}, None),
    ],
)
def test_a_response_format_becomes_a_grammar(engine: FakeEngine, response_format: dict[str, Any], schema: str) -> None:
    ChatGGUF().invoke("x", response_format=response_format)
    assert engine.requests[0].grammar == (schema and schema_grammar(schema))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"temprature": 1}, "does not know temprature"),
        ({"tools": [{"name": "f"}]}, "does not know tools"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be a whole number of at least 1"),
        ({"temperature": -1}, "temperature is -1; it must be a number of at least 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 1.5}, "top_p is 1.5; it must be a number from 0 to 1"),
        ({"seed": 2**32 - 1}, "seed is 4294967295; it must be a whole number from 0 to 4294967294"),
        ({"top_k": 1.5}, "top_k is 1.5; it must be a whole number"),
        ({"stop": ["a", ""]}, "none of them empty"),
        ({"stop": "a"}, "must be a list of strings"),
        ({"grammar": "a", "response_format": {"type": "json_object"}}, "a grammar or a response_format, not both"),
        ({"grammar": 3}, "grammar is int; it must be GBNF"),
        ({"response_format": "json"}, "response_format is 'json'"),
        ({"response_format": {"type": "json_schema"}}, "schema in response_format must be a dict"),
        ({"logprobs": False, "top_logprobs": 3}, "logprobs=False for none"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(
    engine: FakeEngine, options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        ChatGGUF().invoke("x", **options)
    assert engine.requests == []


def test_options_that_langchain_passes_itself_are_taken(engine: FakeEngine) -> None:
    assert ChatGGUF().invoke("x", stream=False, tools=None, tool_choice=None).text == "The sky is blue."


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"n_ctx": -1}, {"n_slots": 0}, {"timeout": -1}, {"stop": [""]}])
def test_fields_that_are_misspelt_or_out_of_range_are_refused_in_words(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(options))} is .*; it must be"):
        ChatGGUF(**options)
    with pytest.raises(ValidationError, match="temprature"):
        ChatGGUF(temprature=1)  # type: ignore[call-arg]


async def test_a_stop_string_ends_the_reply_and_the_decoding(engine: FakeEngine) -> None:
    for model in (ChatGGUF(stop=["is b"]), ChatGGUF().bind(stop=["is b"])):
        engine.produced = 0
        message = model.invoke("x")
        assert (message.text, message.response_metadata["finish_reason"]) == ("The sky ", "stop")
        assert engine.produced == 4
        assert "".join(chunk.text for chunk in model.stream("x")) == "The sky "
        assert "".join([chunk.text async for chunk in model.astream("x")]) == "The sky "


def test_closing_a_stream_ends_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(["x"] * 1000, delay=0.005))
    stream = ChatGGUF(max_tokens=1000).stream("x")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    ChatGGUF(max_tokens=1).invoke("x")  # takes its turn as soon as the other is gone
    assert engine.produced < 100


async def test_cancelling_a_task_ends_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(["x"] * 1000, delay=0.005))
    model = ChatGGUF(max_tokens=1000)
    task = asyncio.create_task(model.ainvoke("x"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async for _ in model.astream("x"):
        break
    gc.collect()
    await asyncio.sleep(0)
    await model.ainvoke("x", max_tokens=1)
    assert engine.produced < 200


async def test_a_task_that_waits_for_its_turn_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(["x"]))
    with engine.turn.taken():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ChatGGUF().ainvoke("x"), 0.05)
        await asyncio.sleep(0.1)
    assert engine.produced == 0


def test_a_call_inside_a_stream_of_the_same_model_does_not_deadlock(engine: FakeEngine) -> None:
    model = ChatGGUF()
    replies = [model.invoke("y").text for _ in model.stream("x")]
    assert replies == ["The sky is blue."] * 6


def test_a_call_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(["x"] * 1000, delay=0.005))
    model = ChatGGUF(timeout=0.05, max_tokens=1000)
    with pytest.raises(ModelTimeoutError, match=r"after 0\.05 seconds"):
        model.invoke("x")
    with pytest.raises(ModelTimeoutError):
        list(model.stream("x"))
    assert engine.produced < 100


async def test_errors_of_the_engine_arrive_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeEngine([], error=ContextLengthError(9, 8)))
    model = ChatGGUF()
    with pytest.raises(ContextLengthError, match="9 tokens and the context holds 8"):
        model.invoke("x")
    with pytest.raises(ContextLengthError):
        list(model.stream("x"))
    with pytest.raises(ContextLengthError):
        await model.ainvoke("x")
    with pytest.raises(ContextLengthError):
        async for _ in model.astream("x"):
            pass


def test_plain_calls_run_in_the_callers_thread_and_streams_in_one_of_their_own(engine: FakeEngine) -> None:
    ChatGGUF().invoke("x")
    assert engine.threads == {threading.current_thread().name}
    list(ChatGGUF().stream("x"))
    assert "divconq-generation" in engine.threads


def test_an_interrupt_in_the_callers_thread_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeEngine([], error=KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        ChatGGUF().invoke("x")


def test_many_calls_at_once_all_get_their_reply(engine: FakeEngine) -> None:
    replies = ChatGGUF().batch(["x"] * 32, config={"max_concurrency": 8})
    assert [reply.text for reply in replies] == ["The sky is blue."] * 32


def test_two_event_loops_one_after_the_other(engine: FakeEngine) -> None:
    for _ in range(2):
        assert asyncio.run(ChatGGUF().ainvoke("x")).text == "The sky is blue."


async def test_waiting_calls_leave_the_default_executor_free(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, engine := FakeEngine(["x"]))
    with engine.turn.taken():
        tasks = [asyncio.create_task(ChatGGUF().ainvoke("x")) for _ in range(64)]
        await asyncio.sleep(0.02)
        start = time.monotonic()
        await asyncio.to_thread(lambda: None)
        assert time.monotonic() - start < 5
    assert len(await asyncio.gather(*tasks)) == 64


def test_a_cache_tells_weights_and_adapters_apart_by_what_is_in_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, engine := FakeEngine(WORDS))
    path = write_model(tmp_path / "m.gguf")
    model = ChatGGUF(model_path=path, cache=InMemoryCache())
    model.invoke("x")
    assert model.invoke("x").text == "The sky is blue."
    assert len(engine.requests) == 1
    write_model(path, width=16)
    assert model.invoke("x").response_metadata["model_name"] == "Tiny"
    assert len(engine.requests) == 2
    ChatGGUF(model_path=path, adapter_path=write_adapter(tmp_path / "a.gguf"), cache=model.cache).invoke("x")
    assert len(engine.requests) == 3


def test_the_fingerprint_names_weights_and_adapter(engine: FakeEngine, tmp_path: Path) -> None:
    path, adapter = write_model(tmp_path / "m.gguf"), write_adapter(tmp_path / "a.gguf")
    bare = ChatGGUF(model_path=path).invoke("x").response_metadata["system_fingerprint"]
    both = ChatGGUF(model_path=path, adapter_path=adapter).invoke("x").response_metadata["system_fingerprint"]
    assert len(bare) == 12
    assert both.startswith(f"{bare}+")


def test_settings_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, FakeEngine(WORDS))
    ChatGGUF(model_path=Path("~/m.gguf"), n_ctx=512, n_threads=3, n_slots=4, n_gpu_layers=-1).invoke("x")
    assert asked == [EngineSettings(Path("~/m.gguf").expanduser(), None, 512, 3, 4, -1)]


def test_tokens_are_counted_by_the_model_itself(engine: FakeEngine) -> None:
    model = ChatGGUF()
    assert model.get_num_tokens("three plain words") == 3
    assert model.get_token_ids("two words") == [0, 1]
    assert model.get_num_tokens_from_messages([HumanMessage("hi")]) == 5
    with pytest.raises(ConfigurationError, match="takes no tools"):
        model.get_num_tokens_from_messages([HumanMessage("hi")], tools=[{"name": "f"}])


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_event_loop_is_not_blocked_while_the_weights_are_read(
    streamed: bool, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    @cache
    def slowly(_: Path) -> str:
        time.sleep(0.2)
        return "0" * 64

    async def stream() -> list[str]:
        return [chunk.text async for chunk in model.astream("x")]

    model = ChatGGUF()
    monkeypatch.setattr("langchain_divconq.llamacpp.chat_models.fingerprint", slowly)
    assert await ticks_during(stream() if streamed else model.ainvoke("x")) > 10
