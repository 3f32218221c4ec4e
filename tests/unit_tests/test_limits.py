"""Tests of the limits on replies: by whatever name a model knows its limit, and a warning where it knows none."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_divconq.budget import Budget
from langchain_divconq.calls import Call
from langchain_divconq.limits import REPLY_TOKENS, SHORT_REPLY_TOKENS, hold, prompt_tokens
from langchain_divconq.solver import FinalAnswer, Solver
from langchain_divconq.types import Question
from tests.unit_tests.fakes import QUESTION, ScriptedModel, failing, scripted
from tests.unit_tests.writers import Held, chain, costs, solution


def read(*messages: BaseMessage) -> int:
    return prompt_tokens(Call(Held(), list(messages), "call"))


@given(text=st.text(), count=st.integers(1, 3))
def test_a_prompt_has_no_more_tokens_than_bytes_and_what_a_template_adds(text: str, count: int) -> None:
    messages = [HumanMessage(text)] * count
    assert read(*messages) >= count * len(text.encode(errors="surrogatepass"))
    assert read(SystemMessage("x"), *messages) > read(*messages)


def test_a_schema_is_part_of_the_prompt_and_its_reply_is_held_as_any() -> None:
    class Structuring(Held):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind(tools=tools)

    model = Structuring(max_tokens=100)
    plain, held = (
        hold(Solver(model=model, structured=one).cheapest(Question(text=QUESTION), {})) for one in (False, True)
    )
    assert held.input_tokens - plain.input_tokens > len(str(FinalAnswer.model_fields["working"].description))
    assert (plain.output_tokens, held.output_tokens) == (SHORT_REPLY_TOKENS, 100)  # JSON that is cut is none
    assert held.call.options == {"max_tokens": 100}


def test_the_solver_is_told_how_much_it_may_write() -> None:
    model = Held(max_tokens=100)
    solution(chain(model), budget=Budget(tokens=5_000))
    assert model.limits == [100, 100, 100]
    unlimited = Held()
    solution(chain(unlimited), budget=Budget(tokens=50_000))
    assert unlimited.limits == [REPLY_TOKENS] * 3
    given = Held()
    solution(chain(given), budget=Budget(tokens=50_000), max_tokens=30)
    assert given.limits == [30] * 3
    bound = Held().bind(max_tokens=40).with_retry()
    solution(chain(bound), budget=Budget(tokens=50_000))
    assert bound.bound.bound.limits == [40] * 3  # type: ignore[attr-defined]


class MaxTokens(ScriptedModel):
    """Names its limit as most models do."""

    max_tokens: int | None = None


class MaxOutput(ScriptedModel):
    """Names its limit as Google's models do."""

    max_output_tokens: int | None = None


class NumPredict(ScriptedModel):
    """Names its limit as Ollama's models do, which take none with a call."""

    num_predict: int | None = None


def saying(kind: type[ScriptedModel] = ScriptedModel, **fields: Any) -> ScriptedModel:
    return kind(reply=lambda _: "Answer: 29", **fields)


@pytest.mark.parametrize(
    ("model", "bound", "told"),
    [
        (saying(), {"max_completion_tokens": 100}, {"max_completion_tokens": 100}),
        (saying(), {"num_predict": 100}, {"num_predict": 100}),
        (saying(MaxTokens), {"max_completion_tokens": 100}, {"max_completion_tokens": 100}),
        (saying(MaxTokens, max_tokens=50), {"max_completion_tokens": 100}, {"max_completion_tokens": 50}),
        (saying(MaxOutput), {}, {"max_output_tokens": REPLY_TOKENS}),
        (saying(MaxOutput, max_output_tokens=100), {}, {"max_output_tokens": 100}),
        (saying(MaxOutput, max_output_tokens=100), {"max_output_tokens": 200}, {"max_output_tokens": 200}),
        (saying(MaxOutput, max_output_tokens=100), {"max_tokens": 200}, {"max_tokens": 100}),
        (saying(NumPredict, num_predict=100), {}, {}),
    ],
)
def test_a_limit_counts_by_whatever_name_it_goes(
    model: ScriptedModel, bound: dict[str, int], told: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    solution(chain(model.bind(**bound)), budget=Budget(tokens=50_000))
    assert model.options == [told] * 3
    assert "cannot hold" not in caplog.text


def test_a_limit_of_another_name_is_shortened_too() -> None:
    model = saying().bind(max_completion_tokens=100)
    solved = solution(chain(model, plan=()), budget=Budget(tokens=costs("direct")))
    [options] = model.bound.options  # type: ignore[attr-defined]
    assert options["max_completion_tokens"] == SHORT_REPLY_TOKENS
    assert "the reply is held to" in solved.reason


def test_fallbacks_are_held_where_one_argument_holds_them_all() -> None:
    first, second = failing(TimeoutError("too slow")), saying()
    both = first.bind(max_tokens=50).with_fallbacks([second.bind(max_tokens=40)])
    solution(chain(both), budget=Budget(tokens=50_000))
    assert [*first.options, *second.options] == [{"max_tokens": 40}] * 6


def test_fallbacks_that_hold_themselves_each_in_its_own_way_are_told_nothing() -> None:
    first, second = failing(TimeoutError("too slow")), saying(NumPredict, num_predict=90)
    both = first.bind(max_tokens=50).with_fallbacks([second])
    solution(chain(both, plan=()), budget=Budget(tokens=2_000))
    assert [*first.options, *second.options] == [{"max_tokens": 50}, {}]


def test_what_cannot_be_held_is_warned_of_once_by_name(caplog: pytest.LogCaptureFixture) -> None:
    class Rambling(ScriptedModel):
        pass

    with_fallback: Runnable[Any, Any] = Held().with_fallbacks([saying(Rambling)])
    for _ in range(2):
        solution(chain(with_fallback), budget=Budget(tokens=50_000))
    [warning] = [record for record in caplog.records if "cannot hold" in record.message]
    assert warning.name == "langchain_divconq.limits"
    assert "cannot hold the replies of Rambling" in warning.message
    assert "bind max_tokens" in warning.message


def test_what_takes_no_limit_is_given_none() -> None:
    model = scripted("Answer: 29")
    solution(chain(model), budget=Budget(tokens=50_000))
    assert model.options == [{}] * 3
    no_model: Runnable[Any, Any] = RunnableLambda(lambda _: "Answer: 29")
    assert solution(chain(no_model), budget=Budget(tokens=50_000)).mode == "sequential"


def test_of_many_threads_one_warns(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(ScriptedModel):
        pass

    call, ready = Call(saying(Endless), [HumanMessage("Why?")], "call"), threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (ready.wait(), hold(call)), range(8)))
    assert len([record for record in caplog.records if "replies of Endless" in record.message]) == 1
