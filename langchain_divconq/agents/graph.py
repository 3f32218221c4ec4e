"""The chain as a node of a LangGraph graph."""

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import merge_configs
from langgraph.config import get_stream_writer
from langgraph.types import StreamWriter

from langchain_divconq.chain import DECOMPOSITION_EVENT, DivideAndConquer


class _Announcement(BaseCallbackHandler):
    """Hands the chain's plan to a graph's `stream_mode="custom"`, which hears nothing of callbacks' events."""

    run_inline = True  # before the solver begins

    def __init__(self, write: StreamWriter) -> None:
        self._write = write

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_: Any) -> None:
        if name == DECOMPOSITION_EVENT:
            self._write({name: data})


def divide_and_conquer_node(chain: DivideAndConquer) -> Runnable[Any, dict[str, list[AIMessage]]]:
    """Return a node that answers the last of the state's `messages` and adds the reply to them.

    Its tokens reach `stream_mode="messages"`; the plan, as soon as there is one, reaches `stream_mode="custom"` as
    `{"divconq_decomposition": …}`. The messages before the last reach the chain's solver as they are.
    """

    def answer(state: dict[str, Any], config: RunnableConfig) -> dict[str, list[AIMessage]]:
        return {"messages": [chain.invoke(state["messages"], _announcing(config))]}

    async def aanswer(state: dict[str, Any], config: RunnableConfig) -> dict[str, list[AIMessage]]:
        return {"messages": [await chain.ainvoke(state["messages"], _announcing(config))]}

    return RunnableLambda(answer, aanswer, name="divide_and_conquer")


def _announcing(config: RunnableConfig) -> RunnableConfig:
    return merge_configs(config, {"callbacks": [_Announcement(get_stream_writer())]})
