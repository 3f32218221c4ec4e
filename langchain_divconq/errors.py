"""The errors this library raises, all of them.

    DivConqError
    ├── InvalidQuestionError         (ValueError)              an empty or non-text question
    ├── ConfigurationError           (ValueError)              options that contradict each other or are out of range
    ├── BudgetExceededError                                the budget pays for no way to answer
    ├── DecompositionError           (OutputParserException)   the decomposer wrote no usable plan
    ├── EngineError                  (ModelError)              llama.cpp failed while it ran
    │   ├── EngineNotInstalledError  (ImportError)             neither engine can be imported
    │   ├── WeightsNotFoundError     (ModelNotFoundError, FileNotFoundError)
    │   ├── InvalidWeightsError      (ModelInvalidRequestError, ValueError)   corrupt, truncated or not a model
    │   ├── AdapterMismatchError     (ModelInvalidRequestError, ValueError)   a LoRA made for another model
    │   ├── GrammarError             (ModelInvalidRequestError, ValueError)   GBNF or JSON schema refused
    │   ├── ContextLengthError       (ContextOverflowError)    the prompt does not fit; carries both counts
    │   └── GenerationCancelled      (ModelError)              decoding was stopped from outside

Where `langchain_core.exceptions` has a class for the condition, it is a second base, so code that already catches
LangChain's errors catches ours.
"""

from typing import Any

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    OutputParserException,
)


class DivConqError(Exception):
    """Base of every error this library raises."""


class InvalidQuestionError(DivConqError, ValueError):
    """The input holds no question in words: it is empty, or has an image where text is needed."""


class ConfigurationError(DivConqError, ValueError):
    """An option is out of range, or two options contradict each other."""


class BudgetExceededError(DivConqError):
    """The budget does not pay for even the cheapest way to answer the question, so it was not asked."""


class DecompositionError(DivConqError, OutputParserException):
    """The decomposer wrote something that is no plan. `llm_output` holds what it wrote."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Past core's __init__, which would add its link to the message of a copy once more.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class EngineError(DivConqError, ModelError):
    """llama.cpp reported a failure while it loaded or ran a model."""


class EngineNotInstalledError(EngineError, ImportError):
    """No llama.cpp binding is installed, or not the one asked for."""


class WeightsNotFoundError(EngineError, ModelNotFoundError, FileNotFoundError):
    """There is no GGUF where one was expected."""


class InvalidWeightsError(EngineError, ModelInvalidRequestError, ValueError):
    """The file is not a GGUF, is cut short, or its checksum differs from the expected one."""


class AdapterMismatchError(EngineError, ModelInvalidRequestError, ValueError):
    """The LoRA adapter was made for a model of another architecture or shape."""


class GrammarError(EngineError, ModelInvalidRequestError, ValueError):
    """llama.cpp refused the grammar, or the JSON schema could not be turned into one."""


class ContextLengthError(EngineError, ContextOverflowError):
    """The prompt does not fit in the model's context.

    Attributes:
        prompt_tokens: Tokens in the prompt.
        n_ctx: Tokens the context holds, prompt and reply together.
    """

    def __init__(self, prompt_tokens: int, n_ctx: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and the context holds {n_ctx}, reply included. "
            "Shorten the prompt, or load the model with a larger n_ctx."
        )
        self.prompt_tokens = prompt_tokens
        self.n_ctx = n_ctx

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own copies it from its message, which this __init__ does not take.
        return type(self), (self.prompt_tokens, self.n_ctx), self.__dict__


class GenerationCancelled(EngineError):
    """The caller asked for decoding to stop before it was done."""
