"""Divide and conquer for LangChain: a small local model splits the question, any chat model answers it."""

from langchain_divconq._version import __version__ as __version__
from langchain_divconq.budget import Budget
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.errors import (
    AdapterMismatchError,
    BudgetExceededError,
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
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.retrieval import DecomposedRetriever
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Question, Solution, Subanswer
from langchain_divconq.usage import Price, StageUsage, Usage

__all__ = [
    "AdapterMismatchError",
    "Budget",
    "BudgetExceededError",
    "ChatGGUF",
    "ConfigurationError",
    "ContextLengthError",
    "DecomposedRetriever",
    "Decomposer",
    "Decomposition",
    "DecompositionError",
    "DivConqError",
    "DivideAndConquer",
    "EngineError",
    "EngineNotInstalledError",
    "GenerationCancelled",
    "GrammarError",
    "InvalidQuestionError",
    "InvalidWeightsError",
    "Price",
    "Question",
    "Solution",
    "Solver",
    "StageUsage",
    "Subanswer",
    "Usage",
    "WeightsNotFoundError",
]
