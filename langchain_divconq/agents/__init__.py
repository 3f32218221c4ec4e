"""Decomposition where agents and graphs can use it: tools, a middleware for `create_agent`, a node for LangGraph.

The tools need langchain-core alone. The middleware and the node need langchain and langgraph, which the extra `agents`
brings; they are imported when they are first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from langchain_divconq.agents.tools import DecomposeTool, DivideAndConquerTool

if TYPE_CHECKING:
    from langchain_divconq.agents.graph import divide_and_conquer_node
    from langchain_divconq.agents.middleware import DecompositionMiddleware

__all__ = ["DecomposeTool", "DecompositionMiddleware", "DivideAndConquerTool", "divide_and_conquer_node"]

_MODULES = {"DecompositionMiddleware": "middleware", "divide_and_conquer_node": "graph"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    except ImportError as error:
        raise ImportError(
            f"{name} needs langchain and langgraph, which cannot be imported ({error}). "
            'Install them with: pip install "langchain-divconq[agents]"'
        ) from error
    return getattr(module, name)
