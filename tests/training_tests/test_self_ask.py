"""The solver asks itself: a call a round, until it answers or has asked enough."""

from langchain_core.messages import AIMessage, BaseMessage

from langchain_divconq.types import Question
from tests.unit_tests.fakes import QUESTION, scripted
from training.measure.models import Meter
from training.measure.self_ask import MAX_FOLLOW_UPS, first_prompt, first_round, self_ask

ROUND = "Follow-up: How many pens are in 3 boxes of 12?\n3 * 12 = 36\nSo: 36"


async def test_each_round_is_a_call_that_reads_all_before_it() -> None:
    replies = [ROUND, "Follow-up: How many are left?\nSo: 29", "36 - 7 = 29\nAnswer: 29"]
    model = scripted(lambda messages: replies[sum(isinstance(message, AIMessage) for message in messages)])
    meter = Meter()
    asked = await self_ask(model, Question(text=QUESTION), {"callbacks": [meter]})
    assert asked == (replies[2], "29", 2)
    assert [len(messages) for messages in model.seen] == [1, 3, 5]
    assert [message.text for message in model.seen[2] if isinstance(message, AIMessage)] == replies[:2]
    assert meter.usage.calls == 3
    assert meter.usage.input_tokens == sum(len(m.text.split()) for messages in model.seen for m in messages)


async def test_after_enough_rounds_the_answer_is_asked_for() -> None:
    def reply(messages: list[BaseMessage]) -> str:
        return "Answer: 29" if "That is enough" in messages[-1].text else ROUND

    model = scripted(reply)
    assert await self_ask(model, Question(text=QUESTION)) == ("Answer: 29", "29", MAX_FOLLOW_UPS)
    assert len(model.seen) == MAX_FOLLOW_UPS + 1


async def test_a_solver_that_never_answers_is_left_with_its_last_reply() -> None:
    assert await self_ask(scripted(ROUND), Question(text=QUESTION)) == (ROUND, None, MAX_FOLLOW_UPS)


async def test_an_empty_reply_ends_it() -> None:
    model = scripted(" ")
    assert (await self_ask(model, Question(text=QUESTION))).text == " "
    assert len(model.seen) == 1


def test_of_a_reply_that_runs_ahead_the_first_round_counts() -> None:
    assert first_round(f"{ROUND}\n\n**Follow-up:** And then?\nSo: 29") == ROUND
    assert first_round("36 are in the boxes.\n") == "36 are in the boxes."


def test_the_question_and_its_context_are_in_the_prompt() -> None:
    [message] = first_prompt(Question(text="Who won?", context="Ann beat Bo."))
    assert message.text.startswith("Context: Ann beat Bo.\n\nQuestion: Who won?\n\n")
