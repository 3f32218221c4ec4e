"""Both stages on the real model, in one process, on both engines."""

from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_divconq import (
    ChatGGUF,
    ContextLengthError,
    Decomposer,
    DivideAndConquer,
    Solution,
    Solver,
)
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.types import Mode

QUESTION = "Who is the spouse of the author of the novel Emma?"
echo: Runnable[Any, Any] = RunnableLambda(lambda messages: f"Answer: {len(messages)}")


@pytest.fixture
def decomposer(engine_name: EngineName) -> Decomposer:
    return Decomposer(model=ChatGGUF(engine=engine_name), max_subquestions=2)


@pytest.mark.parametrize("mode", ["fused", "parallel"])
def test_a_stream_adds_up_to_what_invoke_returns(decomposer: Decomposer, engine_name: EngineName, mode: Mode) -> None:
    solver = Solver(model=ChatGGUF(engine=engine_name, max_tokens=12), mode=mode)
    chain = DivideAndConquer(solver=solver, decomposer=decomposer)
    counter = UsageMetadataCallbackHandler()
    invoked = chain.invoke(QUESTION, {"callbacks": [counter]})
    whole, pieces = AIMessageChunk(content=""), 0
    for chunk in chain.stream(QUESTION):
        assert isinstance(chunk, AIMessageChunk)
        whole, pieces = whole + chunk, pieces + 1
    assert pieces > 5
    assert whole.content == invoked.content != ""
    usage = Solution.from_message(invoked).usage.total
    [counted] = counter.usage_metadata.values()  # one model in both stages
    assert (usage.input_tokens, usage.output_tokens) == (counted["input_tokens"], counted["output_tokens"])
    assert Solution.from_message(whole).usage.total.output_tokens == usage.output_tokens


def test_the_gate_weighs_the_models_own_probability(decomposer: Decomposer) -> None:
    divided = decomposer.invoke(QUESTION)
    probability = divided.no_decomposition_probability
    assert probability is not None
    assert 0 < probability < 1
    below = decomposer.model_copy(update={"gate": probability * 0.9}).invoke(QUESTION)
    above = decomposer.model_copy(update={"gate": min(1.0, probability * 1.1)}).invoke(QUESTION)
    assert below.subquestions == ()
    assert "probability that no decomposition is needed" in below.reason
    assert above.subquestions == divided.subquestions


def test_a_question_too_long_for_the_decomposer_is_solved_in_one_stage(
    engine_name: EngineName, caplog: pytest.LogCaptureFixture
) -> None:
    small = Decomposer(model=ChatGGUF(engine=engine_name, n_ctx=256))
    asked = "The sea is blue. " * 100 + QUESTION  # of a context it would be shown an excerpt
    chain = DivideAndConquer(solver=echo, decomposer=small)
    solution = Solution.from_message(chain.invoke(asked))
    assert (solution.answer, solution.mode) == ("1", "step_by_step")
    assert "and the context holds 256" in solution.reason
    assert "The question stays whole, since the decomposer failed" in caplog.text
    strict = DivideAndConquer(solver=echo, decomposer=small, on_trouble="raise")
    with pytest.raises(ContextLengthError, match=r"The prompt has \d+ tokens and the context holds 256"):
        strict.invoke(asked)


def test_the_answer_can_be_structured_output_of_a_gguf(decomposer: Decomposer, engine_name: EngineName) -> None:
    # At temperature 0 this small a model may write one string until its limit; a seed and some heat end it.
    model = ChatGGUF(engine=engine_name, max_tokens=200, temperature=0.7, seed=3)
    solution = Solution.from_message(
        DivideAndConquer(solver=Solver(model=model, structured=True), decomposer=decomposer).invoke("What is 2 + 2?")
    )
    assert solution.text
    assert solution.usage.solve.calls == 1
