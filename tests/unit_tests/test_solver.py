import asyncio
from typing import Any

import pytest
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from pydantic import ValidationError

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.solver import FinalAnswer, Solver
from langchain_divconq.types import Decomposition, Question, Subanswer
from langchain_divconq.usage import Price
from tests.unit_tests.chains import run
from tests.unit_tests.fakes import ScriptedModel, Structuring, scripted

BRIDGE = Decomposition(
    question=Question(text="Who was mayor when the bridge opened?", context="The bridge stands in Lund."),
    subquestions=("When was the bridge opened?", "Who was mayor in #1?"),
)
INDEPENDENT = Decomposition(
    question=Question(text="Which is older, the bridge or the mill?"),
    subquestions=("When was the bridge opened?", "When was the mill built?", "Which is older, #1 or #2?"),
)
UNDIVIDED = Decomposition(question=Question(text="What is 2 + 2?"), reason="the gate is 'never'")


def answering(messages: list[BaseMessage]) -> str:
    """Answer subquestions as a solver that keeps to the form."""
    asked = messages[-1].text
    for subquestion, answer in {
        "Who was mayor in 1931?": "Ada Holm",
        "When was the bridge opened?": "1931",
        "When was the mill built?": "1870",
        "Which is older, 1931 or 1870?": "1870",
    }.items():
        if f"answer only this subquestion:\n{subquestion}" in asked:
            return f"Let me see.\nAnswer: {answer}"
    return "It follows.\nAnswer: the end."


def prompts(model: ScriptedModel) -> list[str]:
    return [messages[-1].text for messages in model.seen]


def test_fused_asks_question_context_and_subquestions_in_one_call() -> None:
    model = scripted("1. In **1931**.\n2. It was\nAda Holm.\n\nAnswer: Ada Holm")
    solution = Solver(model=model).invoke(BRIDGE)
    [prompt] = prompts(model)
    assert all(
        part in prompt for part in ("The bridge stands in Lund.", BRIDGE.question.text, "1. When was", "2. Who was")
    )
    assert (solution.answer, solution.mode, solution.reason) == ("Ada Holm", "fused", "2 subquestions")
    # Its numbers may be the solver's own steps: which is whose answer cannot be told for certain.
    assert solution.subanswers is None


def test_sequential_shows_each_subquestion_the_earlier_answers_with_references_filled() -> None:
    model = scripted(answering)
    solution = Solver(model=model, mode="sequential").invoke(BRIDGE)
    first, second, closing = prompts(model)
    assert "Found so far" not in first
    assert "- When was the bridge opened? 1931" in second
    assert "Who was mayor in 1931?" in second
    assert "- Who was mayor in 1931? Ada Holm" in closing
    assert all(BRIDGE.question.text in prompt and "stands in Lund" in prompt for prompt in (first, second, closing))
    assert solution.answer == "the end"
    assert solution.subanswers == (
        Subanswer(subquestion="When was the bridge opened?", answer="1931"),
        Subanswer(subquestion="Who was mayor in 1931?", answer="Ada Holm"),
    )
    assert solution.usage.solve.calls == 3


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_hash_of_the_users_is_asked_as_it_stands(mode: Any) -> None:
    question = Question(text="Who opened it and who closed it?", context="Issue #1 has the colour #333333.")
    plan = ("Who opened issue #1?", "Who closed issue #1 after #1?", "What is #333333?")
    model = scripted("Answer: Olga")
    solution = Solver(model=model, mode=mode).invoke(Decomposition(question=question, subquestions=plan))
    asked = [known.subquestion for known in solution.subanswers or ()]
    assert asked == [plan[0], "Who closed issue #1 after Olga?", plan[2]]
    assert all(any(f"subquestion:\n{one}" in prompt for prompt in prompts(model)) for one in asked)


def test_parallel_asks_independent_subquestions_at_once_and_dependent_ones_after() -> None:
    model = scripted(answering, delay=0.05)
    solution = Solver(model=model, mode="parallel").invoke(INDEPENDENT)
    assert model.most_in_flight == 2
    assert "Which is older, 1931 or 1870?" in prompts(model)[2]
    assert solution.subanswers is not None
    assert [known.answer for known in solution.subanswers] == ["1931", "1870", "1870"]
    assert solution.mode == "parallel"


def test_parallel_shows_a_subquestion_no_answer_but_those_it_refers_to() -> None:
    model = scripted(answering)
    Solver(model=model, mode="parallel").invoke(INDEPENDENT)
    assert all("Found so far" not in prompt for prompt in prompts(model)[:3])
    assert "Found so far" in prompts(model)[3]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_subquestion_whose_reference_stays_unresolved_is_not_asked(mode: Any) -> None:
    model = scripted(lambda messages: "No idea.\nNone at all." if "only this" in messages[-1].text else "Answer: x")
    solution = Solver(model=model, mode=mode).invoke(BRIDGE)
    assert len(model.seen) == 2
    assert "- Who was mayor in #1? (no answer found)" in prompts(model)[1]
    assert solution.subanswers is not None
    assert [known.answer for known in solution.subanswers] == [None, None]
    assert solution.reason == "2 subquestions; 2 of 2 have no answer"


@pytest.mark.parametrize(("style", "words"), [("step_by_step", "step by step"), ("direct", "Reply with one line")])
def test_an_undivided_question_is_asked_in_one_stage(style: Any, words: str) -> None:
    model = scripted("Answer: 4")
    solution = Solver(model=model, single_stage=style, mode="parallel").invoke(UNDIVIDED)
    [prompt] = prompts(model)
    assert words in prompt
    assert "subquestion" not in prompt
    assert (solution.mode, solution.answer, solution.reason) == (style, "4", "the gate is 'never'")


@pytest.mark.parametrize("mode", ["fused", "sequential", "parallel"])
def test_a_chats_history_reaches_every_call(mode: Any) -> None:
    question = Question.from_input([SystemMessage("Speak Danish."), ("human", "Hi"), ("ai", "Hej"), ("human", "Who?")])
    model = scripted("Answer: x")
    Solver(model=model, mode=mode).invoke(Decomposition(question=question, subquestions=("Which one?",)))
    assert all(messages[0] == SystemMessage("Speak Danish.") and len(messages) == 4 for messages in model.seen)


def test_a_reply_without_an_answer_gives_none_and_keeps_the_text() -> None:
    solution = Solver(model=scripted("I do not know.\nNobody does.")).invoke(UNDIVIDED)
    assert solution.answer is None
    assert solution.text == "I do not know.\nNobody does."


def test_any_runnable_that_returns_text_can_solve() -> None:
    solution = Solver(model=RunnableLambda(lambda messages: f"Answer: {len(messages)}")).invoke(UNDIVIDED)
    assert solution.answer == "1"
    assert solution.usage.solve.unmetered_calls == 1


def test_a_runnable_that_returns_something_else_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="must return a message or text, got dict"):
        Solver(model=RunnableLambda(lambda _: {"answer": 4})).invoke(UNDIVIDED)


def test_the_answer_is_structured_output_where_asked_for() -> None:
    model = Structuring(reply=lambda _: '{"working": "2 + 2 is 4", "answer": "4\\n"}')
    solution = Solver(model=model, structured=True).invoke(UNDIVIDED)
    assert solution.answer == "4"
    assert solution.text == "2 + 2 is 4\n\nAnswer: 4"
    assert solution.usage.solve.output_tokens == 8
    assert model.options == [{"schema": FinalAnswer}]


def test_structured_output_that_cannot_be_parsed_falls_back_to_the_text() -> None:
    solution = Solver(model=Structuring(reply=lambda _: "Answer: 5"), structured=True).invoke(UNDIVIDED)
    assert solution.answer == "5"


def test_structured_output_of_an_unknown_kind_is_refused_in_words() -> None:
    class Other(ScriptedModel):
        def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
            return RunnableLambda(lambda _: schema(working="", answer="4"))

    solver = Solver(model=Other(reply=lambda _: "x"), structured=True)
    with pytest.raises(ConfigurationError, match="with_structured_output of Other returns a RunnableLambda"):
        solver.invoke(UNDIVIDED)


class Tooled(ScriptedModel):
    """Has LangChain's own structured output."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_what_is_bound_and_what_comes_with_the_call_reach_the_structured_call(how: str) -> None:
    model = Tooled(reply=lambda _: "Answer: 5")
    bound = model.bind(top_p=0.5, temperature=0.9, tools=[]).with_config(tags=["mine"])
    solver = Solver(model=bound, structured=True)
    decomposer: Runnable[Any, Any] = RunnableLambda(lambda _: BRIDGE)
    divided: Any = DivideAndConquer(solver=solver, decomposer=decomposer).bind(temperature=0.1, stop=["."])
    assert run(divided, how, "Who?").text == "Answer: 5"
    [options] = model.options
    assert (options["top_p"], options["temperature"], options["tool_choice"]) == (0.5, 0.1, "any")
    assert options["tools"] == [FinalAnswer]
    assert model.stops == [["."]]


def test_each_fallback_of_a_structured_call_keeps_what_is_bound_to_it() -> None:
    first, second = Tooled(reply=lambda _: str(1 // 0)), Tooled(reply=lambda _: "Answer: 5")
    both = first.bind(top_p=0.1).with_fallbacks([second.bind(top_p=0.2)])
    assert Solver(model=both, structured=True).invoke(UNDIVIDED, temperature=0.3).answer == "5"
    [tried], [used] = first.options, second.options
    assert [(options["top_p"], options["temperature"]) for options in (tried, used)] == [(0.1, 0.3), (0.2, 0.3)]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_config_chooses_who_makes_the_structured_call(how: str) -> None:
    first, second = Tooled(reply=lambda _: "Answer: 5"), Tooled(reply=lambda _: "Answer: 6")
    either = first.configurable_alternatives(ConfigurableField(id="who"), default_key="first", second=second)
    solver = Solver(model=either, structured=True)
    config: Any = {"configurable": {"who": "second"}}
    asked = [
        asyncio.run(solver.ainvoke(UNDIVIDED, given)) if how == "ainvoke" else solver.invoke(UNDIVIDED, given)
        for given in (config, None)
    ]
    assert [solution.answer for solution in asked] == ["6", "5"]


def test_structured_output_needs_a_model_that_has_it() -> None:
    with pytest.raises(ValidationError, match="Structured answers need a model with with_structured_output"):
        Solver(model=RunnableLambda(lambda _: "x"), structured=True)


def test_dollars_add_up_over_the_calls() -> None:
    model = scripted(answering)
    usage = Solver(model=model, mode="sequential", price=Price(input=3, output=9)).invoke(BRIDGE).usage.solve
    assert usage.dollars == pytest.approx((3 * usage.input_tokens + 9 * usage.output_tokens) / 1e6)


@pytest.mark.parametrize("mode", ["fused", "sequential", "parallel"])
def test_async_gives_the_same_as_sync(mode: Any) -> None:
    solver = Solver(model=scripted(answering), mode=mode)
    synchronous, asynchronous = solver.invoke(INDEPENDENT), asyncio.run(solver.ainvoke(INDEPENDENT))
    assert asynchronous.model_copy(update={"usage": synchronous.usage}) == synchronous
    assert asynchronous.usage.solve.output_tokens == synchronous.usage.solve.output_tokens


async def test_when_one_of_several_calls_fails_the_others_are_cancelled() -> None:
    class Mixed(ScriptedModel):
        async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            if "mill" in messages[-1].text.split("only this subquestion:")[1]:
                raise ModelTimeoutError("the provider is slow")
            return await super()._agenerate(messages, *args, **kwargs)

    model = Mixed(reply=answering, delay=30)
    with pytest.raises(ModelTimeoutError, match="the provider is slow"):
        await asyncio.wait_for(Solver(model=model, mode="parallel").ainvoke(INDEPENDENT), timeout=5)
    assert model.cancelled == 1


def test_max_concurrency_holds_for_the_calls_of_one_question() -> None:
    model = scripted(answering, delay=0.02)
    Solver(model=model, mode="parallel").invoke(INDEPENDENT, {"max_concurrency": 1})
    assert model.most_in_flight == 1
    asyncio.run(Solver(model=model, mode="parallel").ainvoke(INDEPENDENT, {"max_concurrency": 1}))
    assert model.most_in_flight == 1
