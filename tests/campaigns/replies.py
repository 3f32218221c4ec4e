"""Faulty replies of a solver: each question has a Solution that survives JSON, or the error that is its own.

`--count` replies, each in all three modes by `invoke`, `ainvoke`, `batch`, `abatch`, `stream` and `astream`: texts that
are odd, cut, endless or no Unicode, blocks, token counts that are none, somebody else's metadata, values that are no
messages, errors and cancellations. In a batch, the questions beside it are answered.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.errors import ConfigurationError, GenerationCancelled
from langchain_divconq.solver import Solver
from langchain_divconq.types import Decomposition, Mode, Question, Solution
from tests.campaigns.report import Report

_GOOD, _FAULTY = "How many pens are left?", "Is this the faulty one?"
_PLAN = ("How many pens are there?", "How many of #1 pens are given away?")
_TEXTS = (
    *(
        "",
        " \n",
        "Answer:",
        "Answer: ",
        "**Answer:** 29**",
        "Answer: \ud83d",
        "\udce9",
        "\ud83d\ude00",
        "\0",
        "\x1b[2J",
    ),
    *(
        "<think>never closed",
        "</think>",
        "\\boxed{",
        "\\boxed{\\frac{1}{2}}",
        "#### 29",
        "{",
        '{"answer": ',
        "[[[[",
        "```",
    ),
    *(
        "1. 36\n2. 29\nAnswer: 29",
        "The answer is 29.",
        "\u202e29",
        "٢٩",
        "二十九",
        "Answer\uff1a29",
        "#1 #2 #3",
        "<|im_end|>",
    ),
)


class Faulty(Runnable[Any, Any]):
    """Gives a faulty reply to the faulty question, and a good one to the others."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        if _FAULTY not in input[-1].text:
            return AIMessage("Answer: 29")
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self.invoke(input, config)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        reply = self.invoke(input, config)
        if isinstance(reply, AIMessage) and isinstance(reply.content, str) and len(reply.content) > 1:
            half = len(reply.content) // 2
            yield AIMessageChunk(content=reply.content[:half])
            reply = reply.model_copy(update={"content": reply.content[half:]})
        yield reply

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        for part in self.stream(input, config):
            yield part


def _plan(question: Question) -> Decomposition:
    return Decomposition(question=question, subquestions=_PLAN)


def run(count: int, seed: int) -> Report:
    report = Report()
    chance = random.Random(seed)
    loop = asyncio.new_event_loop()
    for case in range(count):
        reply = _faulty(chance)
        wrong = [what for mode in get_args(Mode) for what in _wrong(reply, mode, loop)]
        if wrong:
            report.failed(case, repr(reply)[:300], wrong[0], outcome="wrong")
        else:
            report.passed("answered" if _is_message(reply) else "its own error")
    loop.close()
    return report


def _wrong(reply: Any, mode: Mode, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Yield what is wrong, in whichever of the six ways."""
    chain = DivideAndConquer(solver=Solver(model=Faulty(reply), mode=mode), decomposer=RunnableLambda(_plan))

    async def streamed() -> Any:
        return [chunk async for chunk in chain.astream(_FAULTY)][-1]

    beside = [_GOOD, _FAULTY, _GOOD]
    ways: dict[str, Any] = {
        "invoke": lambda: chain.invoke(_FAULTY),
        "ainvoke": lambda: loop.run_until_complete(chain.ainvoke(_FAULTY)),
        "stream": lambda: list(chain.stream(_FAULTY))[-1],
        "astream": lambda: loop.run_until_complete(streamed()),
        "batch": lambda: _in_a_batch(chain.batch(beside, return_exceptions=True)),
        "abatch": lambda: _in_a_batch(loop.run_until_complete(chain.abatch(beside, return_exceptions=True))),
    }
    for name, ask in ways.items():
        try:
            if what := _lost(ask(), reply):
                yield f"{mode}, {name}: {what}"
        except asyncio.CancelledError:
            if name not in ("ainvoke", "astream") or not isinstance(reply, asyncio.CancelledError):
                yield f"{mode}, {name}: a cancellation got out"
        except Exception as error:  # whatever it is, it must be the reply's own or ours
            if not _is_its_own(error, reply):
                yield f"{mode}, {name}: {type(error).__name__}: {error}"[:300]


def _in_a_batch(results: list[Any]) -> Any:
    first, faulty, last = results
    for good in (first, last):
        if isinstance(good, BaseException) or Solution.from_message(good).answer != "29":
            raise AssertionError(f"a question beside it was lost: {good!r}")
    if isinstance(faulty, BaseException):
        raise faulty
    return faulty


def _lost(message: Any, reply: Any) -> str:
    """Return what of a reply that was paid for is lost; empty: nothing."""
    solution = Solution.from_message(message)
    if Solution.model_validate_json(solution.model_dump_json()) != solution:
        return "the Solution does not survive JSON"
    json.dumps(message.response_metadata, ensure_ascii=False).encode()
    content = reply if isinstance(reply, str) else reply.content
    blocks = [content] if isinstance(content, str) else [_text_of(block) for block in content]
    # Each block has to be text by itself: halves of a pair in two of them are no character.
    kept = "".join(block.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for block in blocks)
    return "" if solution.text == kept else f"the text became {solution.text[:80]!r}"


def _is_its_own(error: Exception, reply: Any) -> bool:
    if error is reply or (isinstance(reply, asyncio.CancelledError) and isinstance(error, GenerationCancelled)):
        return True
    return not _is_message(reply) and isinstance(error, ConfigurationError)


def _is_message(reply: Any) -> bool:
    return isinstance(reply, (str, AIMessage))


def _faulty(chance: random.Random) -> Any:
    kind = chance.randrange(10)
    text = "".join(chance.choice((*_TEXTS, "\n", " ", "Answer: 29\n")) for _ in range(chance.randint(1, 4)))
    if kind == 0:
        return chance.choice((None, 7, b"29", ["29"], {"answer": 29}, {"messages": []}, HumanMessage("29"), object()))
    if kind == 1:
        errors = (
            TimeoutError("slow"),
            IndexError("list index out of range"),
            KeyError("choices"),
            OSError(5, "broken"),
        )
        return chance.choice((*errors, asyncio.CancelledError(), ValueError("\ud83d"), AssertionError()))
    if kind == 2:
        return text * chance.choice((1, 1, 1, 2_000))
    message = AIMessage(text)
    if kind in (3, 4, 5):
        numbers = (-7, 0, 3, None, "many", float("nan"), float("inf"), 10**12, 2.5, True)
        keys = ("input_tokens", "output_tokens", "total_tokens")
        usage: dict[str, Any] = {key: chance.choice(numbers) for key in keys if chance.random() < 0.8}
        if chance.random() < 0.5:
            usage["input_token_details"] = chance.choice((None, {}, {"cache_read": chance.choice(numbers)}))
        return message.model_copy(update={"usage_metadata": usage})
    if kind == 6:
        blocks = [chance.choice((text, {"type": "text", "text": text})) for _ in range(chance.randint(0, 3))]
        return AIMessage(content=[*blocks, {"type": "reasoning", "reasoning": text}])
    if kind == 7:
        inner = chance.choice(({}, None, 7, {"answer": "8"}, {"usage": {"solve": {"seconds": 1.0}}}))
        return message.model_copy(update={"response_metadata": {"divconq": inner, "model_name": "inner"}})
    if kind == 8:
        calls = [{"name": "search", "args": {"q": text}, "id": "1", "type": "tool_call"}]
        return message.model_copy(update={"tool_calls": calls})
    return message


def _text_of(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    return str(block["text"]) if block.get("type") == "text" else ""
