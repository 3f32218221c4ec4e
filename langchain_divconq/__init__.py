"""Divide and conquer for LangChain: a small local model splits the question, any chat model answers it."""

from langchain_divconq._version import __version__ as __version__
from langchain_divconq.errors import (
    AdapterMismatchError,
    ConfigurationError,
    ContextLengthError,
    DecompositionError,
    DivConqError,
    EngineError,
    EngineNotInstalledError,
    GenerationCancelled,
    GrammarError,
    InvalidQuestionError,
    InvalidWeightsError,
    WeightsNotFoundError,
)

__all__ = [
    "AdapterMismatchError",
    "ConfigurationError",
    "ContextLengthError",
    "DecompositionError",
    "DivConqError",
    "EngineError",
    "EngineNotInstalledError",
    "GenerationCancelled",
    "GrammarError",
    "InvalidQuestionError",
    "InvalidWeightsError",
    "WeightsNotFoundError",
]
