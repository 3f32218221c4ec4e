import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_divconq.answers import parse_answer
from langchain_divconq.grammar import decomposition_grammar
from langchain_divconq.plans import clean_plan, parse_plan
from langchain_divconq.prompts import (
    ANSWER_MARKER,
    NO_DECOMPOSITION,
    closing_prompt,
    decomposition_prompt,
    fused_prompt,
    render_question,
    single_stage_prompt,
    subquestion_prompt,
)
from langchain_divconq.types import Question, Subanswer, references

HISTORY = (SystemMessage("Answer in French."), HumanMessage("Hello"), AIMessage("Bonjour"))
QUESTION = Question(text="How many pens are left?", context="Mia has 36 {pens} and gives away 7.", history=HISTORY)
KNOWN = (Subanswer(subquestion="How many pens are there?", answer="36"), Subanswer(subquestion="Whose?", answer=None))

SOLVER_PROMPTS = [
    single_stage_prompt(QUESTION, "direct"),
    single_stage_prompt(QUESTION, "step_by_step"),
    fused_prompt(QUESTION, ["How many pens are there?", "What is #1 - 7?"]),
    subquestion_prompt(QUESTION, "What is 36 - 7?", KNOWN),
    closing_prompt(QUESTION, KNOWN),
]


@pytest.mark.parametrize("messages", SOLVER_PROMPTS, ids=["direct", "steps", "fused", "subquestion", "closing"])
def test_every_prompt_of_the_solver_holds_history_context_question_and_marker(messages: list[BaseMessage]) -> None:
    *history, last = messages
    assert tuple(history) == HISTORY
    assert isinstance(last, HumanMessage)
    assert last.text.startswith("Context: Mia has 36 {pens} and gives away 7.\n\nQuestion: How many pens are left?\n\n")
    assert f"'{ANSWER_MARKER}'" in last.text.splitlines()[-1]


def test_a_question_without_context_is_rendered_alone() -> None:
    assert render_question(Question(text="Why?")) == "Question: Why?"


@pytest.mark.parametrize("cap", [1, 3, 9])
def test_the_decomposer_is_told_the_cap_and_the_sentinel_and_sees_no_history(cap: int) -> None:
    instructions, asked = decomposition_prompt(QUESTION, cap, "zero_shot")
    assert isinstance(instructions, SystemMessage)
    assert ("one simpler subquestion," if cap == 1 else f"at most {cap} simpler subquestions,") in instructions.text
    assert instructions.text.endswith(NO_DECOMPOSITION)
    assert asked == HumanMessage(render_question(QUESTION))


def test_a_student_is_asked_in_one_line_that_tells_the_cap() -> None:
    instructions, asked = decomposition_prompt(QUESTION, 2, "student")
    assert instructions == SystemMessage("Split the question into at most 2 simpler subquestions.")
    assert asked == HumanMessage(render_question(QUESTION))


def test_the_demonstration_is_a_plan_as_we_want_it() -> None:
    _, asked, shown, _ = decomposition_prompt(QUESTION, 3, "one_shot")
    plan = parse_plan(shown.text)
    assert clean_plan(plan, Question(text=asked.text), 3) == plan
    assert [references(subquestion) for subquestion in plan] == [(), (), (1, 2)]


def test_the_subquestions_are_numbered_in_one_call_for_all() -> None:
    [*_, message] = fused_prompt(Question(text="Why?"), ["Who?", "Where was #1?"])
    assert ":\n1. Who?\n2. Where was #1?\n\n" in message.text


def test_what_is_known_is_shown_and_what_is_missing_is_named() -> None:
    for messages in (subquestion_prompt(QUESTION, "What is 36 - 7?", KNOWN), closing_prompt(QUESTION, KNOWN)):
        facts = "Found so far:\n- How many pens are there? 36\n- Whose? (no answer found)\n\n"
        assert facts in messages[-1].text
    assert "Found so far" not in subquestion_prompt(QUESTION, "What is 36 - 7?", ())[-1].text
    assert "\nWhat is 36 - 7?\n" in subquestion_prompt(QUESTION, "What is 36 - 7?", ())[-1].text


def test_sentinel_and_marker_are_what_grammar_and_parser_read() -> None:
    assert f'"{NO_DECOMPOSITION}"' in decomposition_grammar()
    assert parse_plan(NO_DECOMPOSITION) == ()
    assert parse_answer(f"Working.\n{ANSWER_MARKER} 29") == "29"
