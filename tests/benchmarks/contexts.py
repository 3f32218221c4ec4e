"""Seconds for a plan with a long context, shown as an excerpt and shown as a whole, in the same process."""

import random
import time
from contextlib import AbstractContextManager, nullcontext
from unittest.mock import patch

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.types import Question
from tests.benchmarks.engines import Row, shipped
from tests.benchmarks.interval import middle, ratio
from tests.benchmarks.questions import questions
from tests.library import QUESTIONS, documents

CONTEXT_TOKENS = 1000
LONG_QUESTIONS = 8


def whole_contexts() -> AbstractContextManager[object]:
    """Let decomposers read the whole of each context, as they did before there were excerpts."""
    return patch("langchain_divconq.prompts.excerpt", lambda context, _: context)


def contexts(engine: EngineName, count: int = LONG_QUESTIONS) -> Row:
    """Seconds of a plan for a context of 1,000 tokens: shown as an excerpt, against shown as a whole.

    Each question is asked both ways, in turns. The second time its context begins elsewhere, or the state of the first
    prompt would serve the second.
    """
    decomposer = shipped(engine)
    decomposer.invoke(questions(1, seed=6)[0])  # loads it
    seconds: dict[str, list[float]] = {"whole": [], "excerpt": []}
    read: dict[str, int] = {"whole": 0, "excerpt": 0}
    for number in range(count):
        pair = _long_questions(number, decomposer)
        ways = (("whole", whole_contexts()), ("excerpt", nullcontext()))
        for question, (way, shown) in zip(pair, ways[:: 1 if number % 2 else -1], strict=True):
            with shown:
                start = time.perf_counter()
                plan = decomposer.invoke(question)
                seconds[way].append(time.perf_counter() - start)
            read[way] += plan.usage.input_tokens
    result: Row = {"n": count, **{f"{way}_tokens": tokens / count for way, tokens in read.items()}}
    result |= {f"{way}_p50_s": middle(taken) for way, taken in seconds.items()}
    return {**result, "ratio_to_whole": ratio(seconds["excerpt"], seconds["whole"])}


def _long_questions(number: int, decomposer: Decomposer) -> tuple[Question, Question]:
    """Return a question about a context of `CONTEXT_TOKENS`, and the same with the last half of its context first.

    The context is the library of the examples, passages of ours added, in another order for each number.
    """
    assert isinstance(decomposer.model, ChatGGUF)
    made = [question.context for question in questions(200, seed=100 + number) if question.context is not None]
    texts = [document.page_content.strip() for document in documents()]
    while decomposer.model.get_num_tokens("\n\n".join(texts)) < CONTEXT_TOKENS:
        texts.append(made.pop())
    random.Random(number).shuffle(texts)
    half = len(texts) // 2
    orders = (texts, [*texts[half:], *texts[:half]])
    first, second = (Question(text=QUESTIONS[number % len(QUESTIONS)].question, context="\n\n".join(o)) for o in orders)
    return first, second
