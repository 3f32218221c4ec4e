"""The middleware in agents made by `create_agent`, with scripted models."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelRequest,
    ModelResponse,
    TodoListMiddleware,
    dynamic_prompt,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tracers.schemas import Run
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_divconq import ConfigurationError, Decomposer, Decomposition
from langchain_divconq.agents import DecompositionMiddleware
from tests.repository import ROOT
from tests.unit_tests.fakes import PLAN, QUESTION, SUBQUESTIONS, AgentModel, Tree, calls, failing, in_turn, scripted
from tests.unit_tests.test_imports import loaded_by


def calculator(expression: str) -> str:
    """Work out an expression."""
    return {"3 * 12": "36", "36 - 7": "29"}[expression]


def calculating() -> AgentModel:
    return in_turn(
        calls("calculator", expression="3 * 12"), calls("calculator", expression="36 - 7"), AIMessage("There are 29.")
    )


def planning(model: AgentModel | None = None, decomposer: Any = None, **options: Any) -> Any:
    """Return an agent with a calculator whose model is shown plans."""
    middleware = [DecompositionMiddleware(decomposer or scripted(PLAN))]
    return create_agent(model or calculating(), [calculator], middleware=middleware, **options)


def asking(question: Any = QUESTION) -> Any:
    return {"messages": [HumanMessage(question)]}


def systems(model: AgentModel) -> list[str]:
    """The system message of each call; empty where there was none."""
    return [messages[0].text if isinstance(messages[0], SystemMessage) else "" for messages in model.seen]


async def run(agent: Any, value: Any, config: Any = None, *, is_async: bool) -> dict[str, Any]:
    state: dict[str, Any] = await agent.ainvoke(value, config) if is_async else agent.invoke(value, config)
    return state


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
async def test_every_model_call_is_shown_the_plan_and_the_question_is_divided_once(is_async: bool) -> None:
    model, decomposer = calculating(), scripted(PLAN)
    state = await run(planning(model, decomposer, system_prompt="You are terse."), asking(), is_async=is_async)
    assert len(decomposer.seen) == 1
    assert len(model.seen) == 3
    for system in systems(model):
        assert system.startswith("You are terse.\n\n")
        assert system.endswith(PLAN)
    assert state["messages"][-1].text == "There are 29."


@both
async def test_the_plan_is_in_the_state_and_not_in_the_messages(is_async: bool) -> None:
    state = await run(planning(), asking(), is_async=is_async)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert not any("subquestion" in message.text for message in state["messages"])
    record = json.loads(json.dumps(state["decomposition"]))
    assert Decomposition.model_validate(record).subquestions == SUBQUESTIONS


def test_without_a_system_prompt_the_plan_is_the_system_message() -> None:
    model = calculating()
    planning(model).invoke(asking())
    assert all(system.startswith("A plan for the user's latest question.") for system in systems(model))


def test_a_system_message_of_blocks_keeps_them() -> None:
    model = calculating()
    blocks: list[str | dict[str, Any]] = [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}]
    planning(model, system_prompt=SystemMessage(content=blocks)).invoke(asking())
    content = model.seen[0][0].content
    assert content[:1] == blocks
    assert isinstance(content[1], dict)
    assert content[1]["text"].endswith(PLAN)


@both
@pytest.mark.parametrize("prompt", ["You are terse.", SystemMessage("You are terse.")], ids=["text", "message"])
async def test_the_plan_survives_a_middleware_that_replaces_the_system_message(prompt: Any, is_async: bool) -> None:
    @dynamic_prompt
    def terse(_: ModelRequest) -> Any:
        return prompt

    plans: Any = DecompositionMiddleware(scripted(PLAN))
    for middleware in ([plans, terse], [terse, plans]):
        model = calculating()
        await run(create_agent(model, [calculator], middleware=middleware), asking(), is_async=is_async)
        for system in systems(model):
            assert system.startswith("You are terse.\n\n")
            assert system.endswith(PLAN)
            assert system.count(PLAN) == 1


@both
async def test_a_question_that_needs_no_decomposition_changes_nothing(is_async: bool) -> None:
    model = calculating()
    decomposer = scripted("No decomposition needed.")
    state = await run(planning(model, decomposer, system_prompt="You are terse."), asking(), is_async=is_async)
    assert systems(model) == ["You are terse."] * 3
    assert state["decomposition"]["subquestions"] == []
    assert "no decomposition is needed" in state["decomposition"]["reason"]


@pytest.mark.parametrize(
    "content",
    [[{"type": "text", "text": QUESTION}, {"type": "image", "url": "https://example.com/pens.png"}], "", "   "],
    ids=["image", "empty", "blank"],
)
@both
async def test_a_question_that_is_not_text_is_left_alone(content: Any, is_async: bool) -> None:
    model, decomposer = calculating(), scripted(PLAN)
    state = await run(planning(model, decomposer), asking(content), is_async=is_async)
    assert decomposer.seen == []
    assert systems(model) == [""] * 3
    assert state["decomposition"] is None


def test_a_question_in_text_blocks_is_divided() -> None:
    decomposer = scripted(PLAN)
    planning(None, decomposer).invoke(asking([{"type": "text", "text": QUESTION}]))
    assert decomposer.seen[0][-1].text == f"Question: {QUESTION}"


@both
async def test_a_thread_divides_each_new_question_and_no_question_twice(is_async: bool) -> None:
    model = calculating()
    decomposer = scripted(lambda seen: f"1. What of {seen[-1].text.split()[1]}?\n2. How big is #1?")
    agent = planning(model, decomposer, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    await run(agent, asking("Pens are how many, and the red boxes?"), config, is_async=is_async)
    await run(agent, {"messages": []}, config, is_async=is_async)
    assert len(decomposer.seen) == 1
    state = await run(agent, asking("Boxes are how many, and the red pens?"), config, is_async=is_async)
    assert len(decomposer.seen) == 2
    assert "What of Boxes?" in systems(model)[-1]
    assert "What of Pens?" not in systems(model)[-1]
    assert state["decomposition"]["subquestions"] == ["What of Boxes?", "How big is #1?"]


@both
async def test_a_thread_forgets_the_plan_when_the_next_question_is_not_text(is_async: bool) -> None:
    agent = planning(model := calculating(), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    await run(agent, asking(), config, is_async=is_async)
    await run(agent, asking([{"type": "image", "url": "https://example.com/pens.png"}]), config, is_async=is_async)
    assert systems(model)[-1] == ""


@both
async def test_the_plan_survives_an_interrupt_and_a_resume_by_another_process(is_async: bool) -> None:
    saver, decomposer = InMemorySaver(), scripted(PLAN)
    config = {"configurable": {"thread_id": "1"}}

    def build(model: AgentModel, decomposer: Runnable[Any, Any]) -> Any:
        asking_first: Any = HumanInTheLoopMiddleware(interrupt_on={"calculator": True})
        middleware = [DecompositionMiddleware(decomposer), asking_first]
        return create_agent(model, [calculator], middleware=middleware, checkpointer=saver)

    state = await run(build(calculating(), decomposer), asking(), config, is_async=is_async)
    assert "__interrupt__" in state
    # As after a restart: nothing is left but the checkpoint.
    model, never_asked = calculating(), failing(AssertionError("asked again"))
    agent = build(model, never_asked)
    approve: Command[Any] = Command(resume={"decisions": [{"type": "approve"}]})
    await run(agent, approve, config, is_async=is_async)
    state = await run(agent, approve, config, is_async=is_async)
    assert state["messages"][-1].text == "There are 29."
    assert len(model.seen) == 2
    assert all(system.endswith(PLAN) for system in systems(model))
    assert never_asked.seen == []


def test_another_way_of_dealing_with_trouble_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_trouble is 'ignore'"):
        DecompositionMiddleware(on_trouble="ignore")  # type: ignore[arg-type]


def test_what_is_no_decomposer_is_refused_before_any_question() -> None:
    with pytest.raises(ConfigurationError, match="decomposer is 3; it must be a Decomposer, a chat model"):
        DecompositionMiddleware(3)  # type: ignore[arg-type]


def test_the_bundled_decomposer_is_the_default_and_a_chat_model_is_made_one() -> None:
    assert DecompositionMiddleware().decomposer == Decomposer()
    model = scripted(PLAN)
    assert DecompositionMiddleware(model).decomposer == Decomposer(model=model)


async def test_no_word_of_the_decomposer_is_streamed() -> None:
    agent = planning()
    streams: tuple[list[Any], list[Any]] = (
        list(agent.stream(asking(), stream_mode="messages")),
        [part async for part in agent.astream(asking(), stream_mode="messages")],
    )
    for streamed in streams:
        assert {metadata["langgraph_node"] for _, metadata in streamed} == {"model", "tools"}
        assert "".join(message.text for message, _ in streamed) == "3629There are 29."


# The protocol is in beta and says so.
@pytest.mark.filterwarnings("ignore:The v3 streaming:langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_the_event_stream_of_an_agent_shows_no_message_of_the_decomposer() -> None:
    agent = planning()
    said = [str(message.text) for message in agent.stream_events(asking(), version="v3").messages]
    assert [text for text in said if text] == ["There are 29."]
    stream = await agent.astream_events(asking(), version="v3")
    said = [str(await message.text) async for message in stream.messages]
    assert [text for text in said if text] == ["There are 29."]


@both
async def test_a_custom_stream_announces_the_plan_before_the_model_is_asked(is_async: bool) -> None:
    agent = planning()
    modes: Any = ["custom", "messages"]
    streamed: list[Any] = (
        [part async for part in agent.astream(asking(), stream_mode=modes)]
        if is_async
        else list(agent.stream(asking(), stream_mode=modes))
    )
    assert [mode for mode, _ in streamed].index("messages") == 1
    assert Decomposition.model_validate(streamed[0][1]["divconq_decomposition"]).subquestions
    assert sum(mode == "custom" for mode, _ in streamed) == 1


class Polite(AgentMiddleware):
    """One that changes the system message too."""

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return handler(_politely(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        return await handler(_politely(request))


def _politely(request: ModelRequest[Any]) -> ModelRequest[Any]:
    return request.override(system_message=SystemMessage(f"{request.system_prompt}\nBe polite."))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@both
async def test_it_goes_together_with_three_others_wherever_it_stands(place: int, is_async: bool) -> None:
    model = calculating()
    middleware: list[Any] = [TodoListMiddleware(), ModelCallLimitMiddleware(run_limit=3), Polite()]
    middleware.insert(place, DecompositionMiddleware(scripted(PLAN)))
    agent = create_agent(model, [calculator], system_prompt="You are terse.", middleware=middleware)
    state = await run(agent, asking(), is_async=is_async)
    assert state["messages"][-1].text == "There are 29."
    assert len(model.seen) == 3
    for system in systems(model):
        assert all(part in system for part in ("You are terse.", "write_todos", "Be polite.", PLAN))


@both
async def test_the_run_tree_names_the_decomposer_and_tells_its_tokens(is_async: bool) -> None:
    tree = Tree()
    await run(planning(), asking(), {"callbacks": [tree]}, is_async=is_async)
    [before] = [child for child in tree.root.child_runs if child.name == "DecompositionMiddleware.before_agent"]

    def named(run: Run) -> list[Run]:
        return [run, *(deeper for child in run.child_runs for deeper in named(child))]

    runs = {each.name: each for each in named(before)}
    assert set(runs) == {"DecompositionMiddleware.before_agent", "divconq:decompose", "divconq:plan"}
    assert runs["divconq:plan"].parent_run_id == runs["divconq:decompose"].id
    assert {"divconq:decompose", "divconq:plan", "nostream"} <= set(runs["divconq:plan"].tags or [])
    message = (runs["divconq:plan"].outputs or {})["generations"][0][0]["message"]
    assert message["kwargs"]["usage_metadata"]["output_tokens"] == len(PLAN.split())


def test_the_tools_need_langchain_core_alone() -> None:
    assert loaded_by("from langchain_divconq.agents import DecomposeTool") & {"langchain", "langgraph"} == set()


MIDDLEWARE, NODE = "DecompositionMiddleware", "divide_and_conquer_node"


@pytest.mark.parametrize(
    ("name", "missing"), [(MIDDLEWARE, "langchain"), (MIDDLEWARE, "langgraph"), (NODE, "langgraph")]
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name: str, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from langchain_divconq.agents import {name}"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"ImportError: {name} needs langchain and langgraph" in failed.stderr
    assert 'pip install "langchain-divconq[agents]"' in failed.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    from langchain_divconq import agents

    with pytest.raises(AttributeError, match="has no attribute 'Agent'"):
        agents.Agent  # noqa: B018


def test_the_examples_calculator_calculates_and_refuses_whatever_is_no_arithmetic() -> None:
    # Without the agent that the example makes below.
    source = (ROOT / "examples" / "agent_middleware.py").read_text(encoding="utf-8").partition("\nmodel = ")[0]
    namespace: dict[str, Any] = {}
    exec(compile(source, "agent_middleware.py", "exec"), namespace)
    results = {"14 * 26 - 3 * 48": "220", "(1 + 2) / -4": "-0.75", "0.1 + 0.2": "0.3", "7": "7"}
    assert {expression: namespace["calculator"](expression) for expression in results} == results
    for expression in ("__import__('os').getcwd()", "9 ** 9 ** 9", "1 / 0", "pens", "(", "[7] * 9", ""):
        assert namespace["calculator"](expression).startswith(f"{expression!r} cannot be worked out: ")
