"""The chain as a LangChain user meets it: the conformance suite that LangChain does not have for Runnables."""

import asyncio
import json
import time
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from pydantic import ValidationError

from langchain_divconq.chain import DECOMPOSITION_EVENT, DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, DecompositionError, InvalidQuestionError
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Question, Solution
from langchain_divconq.usage import Usage
from tests.unit_tests.chains import REPLY, big, build, every_mode, every_way, run, small, timeless, total
from tests.unit_tests.fakes import PLAN, QUESTION, SUBQUESTIONS, ScriptedModel, Tree, failing, scripted

MONDAY = "It is Monday."


# In and out


def test_the_solution_travels_in_the_message_as_plain_json() -> None:
    message = build().invoke({"question": QUESTION, "context": MONDAY})
    assert isinstance(message, AIMessage)
    assert message.content == REPLY
    solution = Solution.from_message(message)
    assert solution.decomposition.question == Question(text=QUESTION, context=MONDAY)
    assert solution.answer == "29"
    assert solution.mode == "fused"
    assert solution.subquestions == SUBQUESTIONS
    assert json.loads(json.dumps(message.response_metadata)) == message.response_metadata
    assert message.response_metadata["model_name"] == "big"


def test_it_stands_where_a_model_stood_in_a_chain() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{q}")])
    chain = build()
    assert (prompt | chain | StrOutputParser()).invoke({"q": QUESTION}) == REPLY
    assert big(chain).seen[0][0] == SystemMessage("Be brief.")
    assert "".join((prompt | chain | StrOutputParser()).stream({"q": QUESTION})) == REPLY
    assert (RunnablePassthrough.assign(a=prompt | chain | StrOutputParser())).invoke({"q": QUESTION})["a"] == REPLY


def test_text_streamed_into_it_is_joined() -> None:
    def spell(_: str) -> Any:
        yield from [QUESTION[:10], QUESTION[10:]]

    chain = build()
    assert total(list((RunnableLambda(spell) | chain).stream("go"))).content == REPLY
    assert QUESTION in big(chain).seen[0][-1].text


@every_way
@pytest.mark.parametrize(
    "before",
    [
        RunnableParallel(question=lambda _: QUESTION, context=lambda _: MONDAY),
        RunnableLambda(lambda _: {"question": QUESTION}) | RunnablePassthrough.assign(context=lambda _: MONDAY),
    ],
)
def test_a_mapping_streamed_into_it_key_by_key_is_one_question(before: Runnable[Any, Any], how: str) -> None:
    solution = Solution.from_message(run(before | build(), how, "go"))
    assert solution.decomposition.question == Question(text=QUESTION, context=MONDAY)


def test_of_pieces_that_cannot_be_added_the_last_is_the_whole() -> None:
    def revise(_: str) -> Any:
        yield from [{"question": "What?"}, {"question": QUESTION}]

    message = total(list((RunnableLambda(revise) | build()).stream("go")))
    assert Solution.from_message(message).decomposition.question == Question(text=QUESTION)


@pytest.mark.parametrize("plan", [PLAN, NO_DECOMPOSITION])
@every_mode
def test_the_original_question_reaches_every_solver_call(mode: Any, plan: str) -> None:
    chain = build(mode, plan=plan)
    chain.invoke(QUESTION)
    assert all(QUESTION in messages[-1].text for messages in big(chain).seen)


def test_keyword_arguments_go_to_every_call_of_the_solver_and_to_it_alone() -> None:
    chain = build("sequential")
    chain.bind(temperature=0.7).invoke(QUESTION)
    assert [options["temperature"] for options in big(chain).options] == [0.7] * 3
    assert "temperature" not in small(chain).options[0]


def test_a_bad_question_raises_before_any_model_runs() -> None:
    chain = build()
    with pytest.raises(InvalidQuestionError, match="is empty"):  # what else is bad is tested with Question
        chain.invoke(" \n")
    assert small(chain).seen == []
    assert big(chain).seen == []


def test_a_solver_is_needed_and_unknown_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="solver"):
        DivideAndConquer()
    with pytest.raises(ValidationError, match="sovler"):
        DivideAndConquer(solver=scripted("x"), sovler=1)
    with pytest.raises(ValidationError, match="on_trouble"):
        DivideAndConquer(solver=scripted("x"), on_trouble="ignore")


# Same result by every road


@every_way
@every_mode
def test_all_ways_to_run_it_agree(mode: Any, how: str) -> None:
    expected, other = build(mode).invoke(QUESTION), run(build(mode), how)
    assert other.content == expected.content
    assert other.usage_metadata == expected.usage_metadata
    assert timeless(Solution.from_message(other)) == timeless(Solution.from_message(expected))


def test_a_stream_comes_in_pieces_and_ends_with_the_solution() -> None:
    chunks = list(build().stream(QUESTION))
    assert len(chunks) > 4
    assert chunks[0].content == "1. "
    assert "divconq" not in total(chunks[:-1]).response_metadata
    assert Solution.from_message(chunks[-1]).answer == "29"


def test_the_first_piece_comes_before_the_reply_is_complete() -> None:
    class Slow(ScriptedModel):
        def _chunks(self, message: AIMessage) -> Any:
            for chunk in super()._chunks(message):
                yield chunk
                time.sleep(0.05)

    start = time.perf_counter()
    stream = DivideAndConquer(solver=Slow(reply=lambda _: "one two three four"), decomposer=scripted(PLAN)).stream("q?")
    next(stream)
    first = time.perf_counter() - start
    list(stream)
    assert first < (time.perf_counter() - start) / 2


def test_two_event_loops_may_run_it_one_after_the_other() -> None:
    chain = build("parallel")
    for _ in range(2):
        assert asyncio.run(chain.ainvoke(QUESTION, {"max_concurrency": 2})).content == REPLY
        assert len(asyncio.run(chain.abatch([QUESTION] * 3, {"max_concurrency": 2}))) == 3


# Usage


@every_way
@every_mode
def test_usage_agrees_with_langchains_own_counter(mode: Any, how: str) -> None:
    chain, counter = build(mode), UsageMetadataCallbackHandler()
    message = run(chain, how, config={"callbacks": [counter]})
    usage = Solution.from_message(message).usage
    for stage, model in ((usage.decompose, "small"), (usage.solve, "big")):
        counted = counter.usage_metadata[model]
        assert (stage.input_tokens, stage.output_tokens) == (counted["input_tokens"], counted["output_tokens"])
        assert stage.cached_tokens == counted["input_token_details"]["cache_read"] == stage.calls
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == usage.solve.input_tokens


def test_usage_adds_up_over_a_batch() -> None:
    counter = UsageMetadataCallbackHandler()
    messages = build("sequential").batch([QUESTION] * 4, {"callbacks": [counter]})
    usage = sum((Solution.from_message(message).usage for message in messages), Usage())
    assert usage.solve.calls == 12
    assert usage.solve.input_tokens == counter.usage_metadata["big"]["input_tokens"]
    assert usage.decompose.output_tokens == counter.usage_metadata["small"]["output_tokens"]
    assert usage.total.calls == 16


# Traces, events, graphs


def test_tags_and_metadata_reach_the_children_and_the_run_name_does_not() -> None:
    tree = Tree()
    build().invoke(QUESTION, {"callbacks": [tree], "tags": ["mine"], "metadata": {"user": 7}, "run_name": "exam"})
    assert tree.root.name == "exam"
    solving = tree.root.child_runs[-1]
    assert solving.name == "divconq:solve"
    assert set(solving.tags or []) >= {"mine", "divconq:solve"}
    assert solving.extra["metadata"]["user"] == 7


async def test_v2_events_announce_the_plan_and_then_stream_the_solver() -> None:
    events = [event async for event in build().astream_events(QUESTION, version="v2")]
    kinds = [(event["event"], event["name"]) for event in events]
    assert kinds[0] == ("on_chain_start", "DivideAndConquer")
    assert kinds[-1] == ("on_chain_end", "DivideAndConquer")
    announced = kinds.index(("on_custom_event", DECOMPOSITION_EVENT))
    solving = [n for n, e in enumerate(events) if e["event"] == "on_chat_model_stream" and "divconq:solve" in e["tags"]]
    assert announced < solving[0]
    plan = Decomposition.model_validate(events[announced]["data"])
    assert len(plan.subquestions) == 2
    assert "".join(events[n]["data"]["chunk"].content for n in solving) == REPLY
    assert Solution.from_message(events[-1]["data"]["output"]).answer == "29"


def test_the_plan_is_announced_to_synchronous_callers_too() -> None:
    heard: list[tuple[str, int]] = []

    class Listener(BaseCallbackHandler):
        def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
            heard.append((name, len(big(chain).seen)))

    chain = build()
    chain.invoke(QUESTION, {"callbacks": [Listener()]})
    assert heard == [(DECOMPOSITION_EVENT, 0)]


def test_the_graph_shows_both_stages() -> None:
    names = [node.name for node in build().get_graph().nodes.values()]
    assert names == ["DecomposerInput", "Decomposer", "Solver", "AIMessage", "AIMessageOutput"]
    assert "Decomposer --> Solver" in build().get_graph().draw_mermaid()


def test_schemas_say_what_goes_in_and_out() -> None:
    chain = build()
    assert {"type": "string"} in chain.get_input_jsonschema()["anyOf"]
    assert chain.get_output_jsonschema()["title"] == "AIMessage"
    assert chain.OutputType is AIMessage


# Configuration


def test_fields_can_be_configured_per_call() -> None:
    chain = build(plan="no plan at all").configurable_fields(on_trouble=ConfigurableField(id="on_trouble"))
    assert Solution.from_message(chain.invoke(QUESTION)).mode == "step_by_step"
    with pytest.raises(DecompositionError, match="wrote no plan"):
        chain.invoke(QUESTION, {"configurable": {"on_trouble": "raise"}})


def test_the_stages_own_configurable_fields_are_found_and_obeyed() -> None:
    model = scripted(REPLY).configurable_fields(temperature=ConfigurableField(id="temperature"))
    solver = Solver(model=model).configurable_fields(mode=ConfigurableField(id="mode"))
    decomposer = Decomposer(model=scripted(PLAN)).configurable_fields(gate=ConfigurableField(id="gate"))
    chain = DivideAndConquer(solver=solver, decomposer=decomposer)
    assert {spec.id for spec in chain.config_specs} >= {"mode", "gate"}
    assert Solution.from_message(chain.invoke(QUESTION)).mode == "fused"
    chosen: RunnableConfig = {"configurable": {"mode": "sequential"}}
    assert Solution.from_message(chain.invoke(QUESTION, chosen)).mode == "sequential"
    assert Solution.from_message(total(list(chain.stream(QUESTION, chosen)))).mode == "sequential"
    assert Solution.from_message(chain.invoke(QUESTION, {"configurable": {"gate": "never"}})).mode == "step_by_step"


def test_alternative_solvers_can_be_chosen_per_call() -> None:
    model: Runnable[Any, Any] = scripted("Answer: a").configurable_alternatives(
        ConfigurableField(id="provider"), default_key="a", b=scripted("Answer: b")
    )
    chain = DivideAndConquer(solver=model, decomposer=scripted(PLAN))
    assert "provider" in {spec.id for spec in chain.config_specs}
    assert chain.invoke(QUESTION).content == "Answer: a"
    assert chain.with_config(configurable={"provider": "b"}).invoke(QUESTION).content == "Answer: b"


def test_alternatives_that_are_no_solvers_are_refused_in_words() -> None:
    other: Any = scripted("y")
    solver = Solver(model=scripted("x")).configurable_alternatives(ConfigurableField(id="s"), other=other)
    chain = DivideAndConquer(solver=solver, decomposer=scripted(PLAN))
    with pytest.raises(ConfigurationError, match="every alternative must be a Solver"):
        chain.invoke(QUESTION, {"configurable": {"s": "other"}})


def test_a_solver_that_something_is_bound_to_is_refused_with_what_to_do() -> None:
    solver = Solver(model=scripted("x"))
    for bound in (solver.with_config(tags=["a"]), solver.with_retry(), solver.with_fallbacks([solver])):
        with pytest.raises(ValidationError, match="Bind them to the chain, or to the Solver's model"):
            DivideAndConquer(solver=bound, decomposer=scripted(PLAN))


def test_any_runnable_from_question_to_decomposition_divides() -> None:
    halve: Runnable[Any, Any] = RunnableLambda(
        lambda question: Decomposition(question=question, subquestions=("Half of it?",))
    )
    chain = DivideAndConquer(solver=scripted(REPLY), decomposer=halve)
    assert Solution.from_message(chain.invoke(QUESTION)).subquestions == ("Half of it?",)


def test_retries_and_fallbacks_wrap_it() -> None:
    attempts = iter([RuntimeError("first"), None])

    def flaky(_: list[BaseMessage]) -> str:
        if error := next(attempts):
            raise error
        return REPLY

    chain = DivideAndConquer(solver=ScriptedModel(reply=flaky), decomposer=scripted(PLAN))
    assert chain.with_retry(wait_exponential_jitter=False).invoke(QUESTION).content == REPLY
    broken = DivideAndConquer(solver=failing(RuntimeError("down")), decomposer=scripted(PLAN))
    assert broken.with_fallbacks([build()]).invoke(QUESTION).content == REPLY
    assert total(list(broken.with_fallbacks([build()]).stream(QUESTION))).content == REPLY


# Trouble


@every_way
def test_a_solver_that_fails_raises_its_own_error_and_the_trace_says_so(how: str) -> None:
    tree, chain = Tree(), DivideAndConquer(solver=failing(PermissionError("no key")), decomposer=scripted(PLAN))
    with pytest.raises(PermissionError, match="no key"):
        run(chain, how, config={"callbacks": [tree]})
    assert "no key" in (tree.root.error or "")
