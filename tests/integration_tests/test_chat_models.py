"""ChatGGUF with a real model on both engines."""

import asyncio
import threading
import time
from typing import Annotated, Any

import pytest
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import HumanMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel, Field

from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines.base import EngineName

pytestmark = pytest.mark.usefixtures("unloading")


class Standard(ChatModelIntegrationTests):
    engine: EngineName

    chat_model_class = ChatGGUF

    @property
    def chat_model_params(self) -> dict[str, Any]:
        # Greedily, so small a model repeats itself without end in a string that no schema bounds.
        return {"engine": self.engine, "max_tokens": 200, "n_ctx": 1024, "temperature": 1.0}

    has_tool_calling = False
    has_structured_output = True
    # It is, but the test wants keys that it names in words alone, which is beyond so small a model.
    supports_json_mode = False
    supports_model_override = False

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest) -> ChatGGUF:
        """Replies need no length but where they are to be a whole JSON."""
        short = {} if "structured" in request.node.name else {"max_tokens": 32}
        asked = getattr(request, "param", None) or {}
        return ChatGGUF(**{**self.standard_chat_model_params, **self.chat_model_params, **short, **asked})


class TestStandardLlamaCppPython(Standard):
    engine: EngineName = "llama-cpp-python"


class TestStandardXllamacpp(Standard):
    engine: EngineName = "xllamacpp"


@pytest.fixture
def model(engine_name: EngineName) -> ChatGGUF:
    return ChatGGUF(engine=engine_name, n_ctx=512, max_tokens=8)


QUESTIONS: list[LanguageModelInput] = [
    f"Name {thing} number {number}." for number in range(2) for thing in ("a river", "a city", "a bird")
]


def test_calls_at_once_from_threads_and_tasks_get_what_they_would_get_alone(model: ChatGGUF) -> None:
    alone = [model.invoke(question).text for question in QUESTIONS]
    threads = model.batch(QUESTIONS, config={"max_concurrency": 8})
    assert [message.text for message in threads] == alone
    tasks = asyncio.run(model.abatch(QUESTIONS))
    assert [message.text for message in tasks] == alone


def seconds(model: ChatGGUF, text: str) -> float:
    """How long a reply of one token takes."""
    start = time.monotonic()
    model.invoke(text, max_tokens=1)
    return time.monotonic() - start


async def test_a_cancelled_task_frees_the_engine(model: ChatGGUF) -> None:
    seconds(model, "Hello")  # the first loads the model
    usual = seconds(model, "Bye")
    task = asyncio.create_task(model.ainvoke("Tell me a very long story.", max_tokens=450))
    await asyncio.sleep(0.3)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seconds(model, "Hi") < 20 * usual  # the story would take some seventy times as long


def test_a_closed_stream_frees_the_engine(model: ChatGGUF) -> None:
    seconds(model, "Hello")  # the first loads the model
    usual = seconds(model, "Bye")
    stream = model.stream("Tell me a very long story.", max_tokens=450)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert seconds(model, "Hi") < 20 * usual


def test_a_stream_comes_token_by_token(model: ChatGGUF) -> None:
    start = time.monotonic()
    times = [time.monotonic() - start for _ in model.stream("Tell me a very long story.", max_tokens=60)]
    assert times[0] < times[-1] / 2


def test_calls_inside_a_stream_do_not_deadlock(model: ChatGGUF) -> None:
    assert [model.invoke("Hi", max_tokens=1).text for _ in model.stream("Hello", max_tokens=2)]


def test_a_stop_string_cuts_the_reply(model: ChatGGUF) -> None:
    whole = model.invoke("Count from one to ten in words.", max_tokens=30).text
    stop = whole[len(whole) // 2 :][:3]
    cut = model.invoke("Count from one to ten in words.", max_tokens=30, stop=[stop])
    assert cut.text == whole[: whole.find(stop)]
    assert cut.response_metadata["finish_reason"] == "stop"
    chunks = model.stream("Count from one to ten in words.", max_tokens=30, stop=[stop])
    assert "".join(chunk.text for chunk in chunks) == cut.text


class Person(BaseModel):
    """Someone."""

    name: str = Field(max_length=20)
    age: int
    friends: list[Annotated[str, Field(max_length=10)]] = Field(max_length=3)


def test_structured_output_is_enforced(model: ChatGGUF) -> None:
    chain = model.bind(max_tokens=200)
    for temperature in (0.0, 1.5):
        person = model.with_structured_output(Person).invoke(
            "Bob is 42 years old; his friends are Al and Jo.", max_tokens=200, temperature=temperature, seed=3
        )
        assert isinstance(person, Person)
    assert chain.invoke("Write JSON.", response_format={"type": "json_object"}).text.startswith("{")


def test_counted_tokens_are_those_of_the_usage(model: ChatGGUF) -> None:
    message = model.invoke("How many tokens is this?")
    assert message.usage_metadata is not None
    counted = model.get_num_tokens_from_messages([HumanMessage("How many tokens is this?")])
    assert message.usage_metadata["input_tokens"] == counted
    text = model.bind(logprobs=True).invoke("Say hello.")
    assert text.usage_metadata is not None
    assert text.usage_metadata["output_tokens"] == len(text.response_metadata["logprobs"]["content"])


def test_no_thread_outlives_its_stream(model: ChatGGUF) -> None:
    list(model.stream("Hi"))
    time.sleep(0.2)
    assert "divconq-generation" not in {thread.name for thread in threading.enumerate()}
