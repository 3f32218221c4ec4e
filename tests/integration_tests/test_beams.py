"""Beam search with a real model: what it finds, and that it keeps to what every other generation keeps to."""

from pathlib import Path
from typing import Any

import pytest

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.grammar import decomposition_grammar
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.engines import load_engine
from langchain_divconq.llamacpp.engines.base import Completion, Engine, EngineName, EngineSettings, Request, Token
from langchain_divconq.llamacpp.messages import chat_roles
from langchain_divconq.llamacpp.weights import default_adapter
from langchain_divconq.prompts import decomposition_prompt
from langchain_divconq.types import Question

pytestmark = pytest.mark.usefixtures("unloading")

ASKED = (
    "Who is the mother of the architect who designed the theatre in Sallow Bridge?",
    "Did Mozart and Salieri both live in Vienna in 1785?",
    "Which ship carried home the botanist after whom the flower on the coat of arms of Helmsby is named?",
)
GRAMMAR = decomposition_grammar(4, allow_none=True)


@pytest.fixture
def engine(gguf_path: Path) -> Engine:
    return load_engine(EngineSettings(gguf_path, default_adapter(), n_ctx=1024, n_slots=1), "llama-cpp-python")


def write(
    engine: Engine, question: str, *, stop_after: int | None = None, cancel_after: int | None = None, **options: Any
) -> tuple[str, Completion, list[Token]]:
    """Return a plan as text, how it ended and its tokens."""
    tokens: list[Token] = []
    checks = 0

    def is_cancelled() -> bool:
        nonlocal checks
        checks += 1
        return cancel_after is not None and checks > cancel_after

    def on_token(token: Token) -> bool:
        tokens.append(token)
        return len(tokens) == stop_after

    request = Request(
        engine.render(chat_roles(decomposition_prompt(Question(text=question), 4, "student"))),
        **{"max_tokens": 120, "grammar": GRAMMAR, "top_logprobs": 3, "num_beams": 4, **options},
    )
    completion = engine.generate(request, on_token, is_cancelled)
    return "".join(token.text for token in tokens), completion, tokens


def mean_logprob(tokens: list[Token]) -> float:
    return sum(token.logprob.logprob for token in tokens if token.logprob) / len(tokens)


def test_beams_find_plans_that_the_model_holds_likelier_than_the_greedy_ones(engine: Engine) -> None:
    greedy = [write(engine, question, num_beams=1) for question in ASKED]
    found = [write(engine, question) for question in ASKED]
    assert [text for text, _, _ in found] != [text for text, _, _ in greedy]
    gains = [mean_logprob(one) - mean_logprob(other) for (_, _, one), (_, _, other) in zip(found, greedy, strict=True)]
    assert sum(gains) > 0.05, gains
    for text, completion, tokens in found:
        assert text.startswith("1. ")
        assert completion.finish_reason == "stop"
        assert completion.completion_tokens == len(tokens)
        assert all(len(token.top_logprobs) == 3 for token in tokens)


def test_a_plan_found_by_beams_does_not_depend_on_what_was_asked_before(engine: Engine) -> None:
    alone = write(engine, ASKED[0])
    write(engine, ASKED[1], max_tokens=6)
    write(engine, ASKED[0][:40], max_tokens=6, num_beams=2)
    write(engine, ASKED[0], num_beams=1, max_tokens=6)
    assert write(engine, ASKED[0])[2] == alone[2]  # to the last bit of the log-probabilities
    assert write(engine, ASKED[1], cancel_after=5)[1].finish_reason == "cancelled"
    assert write(engine, ASKED[1], stop_after=2)[1].finish_reason == "cancelled"
    with pytest.raises(ZeroDivisionError, match="mine"):
        engine.generate(Request("x", 8, num_beams=3), fails, lambda: False)
    again = write(engine, ASKED[0])
    assert again[2] == alone[2]
    assert again[1].cached_tokens < again[1].prompt_tokens == alone[1].prompt_tokens


def fails(_: Token) -> bool:
    raise ZeroDivisionError("mine")


def test_a_reply_of_beams_ends_at_its_limit(engine: Engine) -> None:
    for limit in (1, 5):
        _, completion, tokens = write(engine, ASKED[0], max_tokens=limit)
        assert (completion.finish_reason, len(tokens)) == ("length", limit)


def test_a_grammar_that_allows_no_likely_token_is_obeyed(engine: Engine) -> None:
    text, completion, _ = write(engine, ASKED[0], grammar='root ::= "zzz 🙂" [0-9] "!"', num_beams=3)
    assert (text[:5], text[-1], len(text)) == ("zzz 🙂", "!", 7)
    assert completion.finish_reason == "stop"


def test_beams_are_not_followed_where_replies_are_drawn(engine: Engine) -> None:
    drawn = [write(engine, ASKED[0], temperature=0.9, seed=3, num_beams=beams)[0] for beams in (1, 4)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("engine_name", ["llama-cpp-python", "xllamacpp"])
def test_both_engines_take_beams_and_one_follows_them(engine_name: EngineName) -> None:
    model = ChatGGUF(engine=engine_name, n_ctx=1024, max_tokens=24)
    options: dict[str, Any] = {"grammar": 'root ::= [a-z ]+ "."'}
    greedy, found = (model.invoke("Name a colour.", num_beams=beams, **options).text for beams in (1, 4))
    if engine_name == "xllamacpp":
        assert found == greedy
    assert "".join(str(chunk.text) for chunk in model.stream("Name a colour.", num_beams=4, **options)) == found


def test_a_plan_of_a_decomposer_is_the_one_that_beams_find(engine: Engine) -> None:
    decomposition = Decomposer("small", num_beams=4).invoke(ASKED[1])
    assert decomposition.text == write(engine, ASKED[1])[0]
