"""A middleware for `create_agent` that plans on this machine, before the agent's model is asked for the first time."""

# Annotations are evaluated here: langgraph tells by them which arguments a hook takes.

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Annotated, Any, NotRequired, cast

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.internal_call_transformer import InternalCallTransformer, internal_call_metadata
from langchain.agents.middleware.types import ContextT, OmitFromInput, ResponseT
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from langgraph.runtime import Runtime

from langchain_divconq.asking import OnTrouble, as_decomposer, ask_decomposer
from langchain_divconq.calls import Limiter, Stage, adrive, drive
from langchain_divconq.chain import DECOMPOSITION_EVENT
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.plans import render_plan
from langchain_divconq.types import Question

_PLAN = (
    "A plan for the user's latest question. Work through its subquestions in order, with tools where they help, and "
    "pass over one that leads nowhere; then answer the question itself. #1 stands for the answer to subquestion 1.\n"
)


class DecompositionState(AgentState[Any]):
    """The agent's state, with the plan for its latest question.

    Attributes:
        decomposition: The `Decomposition` as plain JSON values (`Decomposition.model_validate` reads it); None: the
            latest message is no question in words.
    """

    decomposition: NotRequired[Annotated[dict[str, Any] | None, OmitFromInput]]


class DecompositionMiddleware(AgentMiddleware[DecompositionState, ContextT, ResponseT]):
    """Divides the user's latest question once and shows the plan to the agent's model with every call.

    The plan goes into the agent's state under `decomposition`, so it survives checkpoints, and to
    `stream_mode="custom"` as `{"divconq_decomposition": …}`. The model sees it at the end of the system message, which
    is not stored, also where a later middleware replaces that message (`dynamic_prompt`). A question that needs no
    decomposition, or that is more than text, changes nothing.

    Example:
        ```python
        agent = create_agent("openai:gpt-5-mini", tools=[search], middleware=[DecompositionMiddleware()])
        ```

    Attributes:
        decomposer: A `Decomposer`, what one is made of, or any Runnable from `Question` to `Decomposition`.
        on_trouble: What happens when the decomposer fails: "go_on" goes on without a plan, says why in the state's
            decomposition and logs a warning; "raise" raises. A broken set-up always raises.
    """

    state_schema = DecompositionState
    transformers = (InternalCallTransformer,)

    def __init__(self, decomposer: Runnable[Any, Any] | None = None, *, on_trouble: OnTrouble = "go_on") -> None:
        super().__init__()
        if on_trouble not in ("go_on", "raise"):
            raise ConfigurationError(f'on_trouble is {on_trouble!r}; it must be "go_on" or "raise".')
        self.decomposer = Decomposer() if decomposer is None else as_decomposer(decomposer)
        if not isinstance(self.decomposer, Runnable):  # else each question would go on without a plan, with a warning
            raise ConfigurationError(
                f"decomposer is {decomposer!r}; it must be a Decomposer, a chat model or its name, or a Runnable."
            )
        self.on_trouble = on_trouble

    def before_agent(
        self,
        state: DecompositionState,
        runtime: Runtime[ContextT],
        config: RunnableConfig | None = None,
    ) -> dict[str, Any] | None:
        """Put the plan for the latest question into the state."""
        return drive(self._divide(state, runtime), _internal(config), Limiter(None))

    async def abefore_agent(
        self,
        state: DecompositionState,
        runtime: Runtime[ContextT],
        config: RunnableConfig | None = None,
    ) -> dict[str, Any] | None:
        """Do the same without blocking the event loop."""
        return await adrive(self._divide(state, runtime), _internal(config), Limiter(None))

    def _divide(self, state: DecompositionState, runtime: Runtime[ContextT]) -> Stage[dict[str, Any] | None]:
        """Return what is new in the state; None: it holds the plan already."""
        question = _latest_question(state)
        if question is None:
            return {"decomposition": None}
        if _is_known(question, state):
            return None
        decomposition = yield from ask_decomposer(self.decomposer, question, self.on_trouble)
        record = decomposition.model_dump(mode="json")
        runtime.stream_writer({DECOMPOSITION_EVENT: record})
        return {"decomposition": record}

    def wrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], ModelResponse[ResponseT]],
    ) -> ModelResponse[ResponseT]:
        """Show the plan to the model."""
        return handler(_with_plan(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], Awaitable[ModelResponse[ResponseT]]],
    ) -> ModelResponse[ResponseT]:
        """Do the same without blocking the event loop."""
        return await handler(_with_plan(request))


def _latest_question(state: DecompositionState) -> Question | None:
    """Return the user's latest message as a question; None: there is none, or it is no text, or more than text."""
    messages = state["messages"]
    for at in reversed(range(len(messages))):
        if isinstance(messages[at], HumanMessage):
            try:
                question = Question.from_input([messages[at]])
            except InvalidQuestionError:
                return None
            # What was said before shows a decomposer that a follow-up leans on it.
            said = tuple(message for message in messages[:at] if message.type in ("human", "ai"))
            return question.model_copy(update={"history": said})
    return None


def _is_known(question: Question, state: DecompositionState) -> bool:
    """Tell whether the state holds the plan already: a run may go on in its thread with no new question."""
    known = state.get("decomposition")
    return known is not None and known["question"] == question.model_dump(mode="json")


def _internal(config: RunnableConfig | None) -> RunnableConfig:
    # Beside the tag "nostream", which stream() heeds, the mark by which event streams tell a middleware's own calls.
    return merge_configs(ensure_config(config), {"metadata": internal_call_metadata()})


def _with_plan(request: ModelRequest[ContextT]) -> ModelRequest[ContextT]:
    """Return the request with the plan at the end of its system message; without a plan, the request itself."""
    decomposition = cast("DecompositionState", request.state).get("decomposition")
    subquestions = decomposition and decomposition["subquestions"]
    if not subquestions:
        return request
    plan = _PLAN + render_plan(subquestions)
    system = request.system_message
    if system is not None and plan in system.text:
        return request
    planned: _PlannedRequest[ContextT] = (
        request
        if isinstance(request, _PlannedRequest)
        else _PlannedRequest(**{each.name: getattr(request, each.name) for each in fields(request)})
    )
    if system is None:
        return planned.replaced(system_message=SystemMessage(plan))
    content = (
        f"{system.content}\n\n{plan}"
        if isinstance(system.content, str)
        else [*system.content, {"type": "text", "text": f"\n\n{plan}"}]
    )
    return planned.replaced(system_message=system.model_copy(update={"content": content}))


class _PlannedRequest(ModelRequest[ContextT]):
    """A request that keeps its plan where another middleware replaces the system message."""

    def override(self, **overrides: Any) -> ModelRequest[ContextT]:
        return _with_plan(self.replaced(**overrides))

    def replaced(self, **overrides: Any) -> ModelRequest[ContextT]:
        return super().override(**overrides)
