import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_divconq.answers import parse_answer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.plans import asks, clean_plan, parse_plan, render_plan
from langchain_divconq.prompts import NO_DECOMPOSITION
from langchain_divconq.types import Decomposition, Question, references

WORDS = st.text(st.characters(exclude_characters="#", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda word: word.split() == [word]
)
COMMON = st.sampled_from(["How", "many", "pens", "1.", "2)", "<think>", "</think>", "Answer:", "**bold**", "+", "C#"])
ASKED = Question(text="Mia has 3 boxes of 12 pens. She gives away 7. How many pens are left?")


def is_normalised(line: str) -> bool:
    """Whether nothing is around a line that Markdown or quotation marks would put there."""
    return line == line.strip("*_ \t\r") != "" and line[0] not in '"\u201c'


@st.composite
def plans(draw: st.DrawFn, backward: bool = True) -> tuple[str, ...]:
    """Normalised plans: single lines and spaces, no markup at the ends, references to earlier ones alone."""
    plan = []
    for number in range(1, draw(st.integers(0, 9)) + 1):
        words = draw(st.lists(WORDS | COMMON, min_size=1, max_size=8))
        highest = number - 1 if backward else 11
        if highest:
            for earlier in draw(st.lists(st.integers(1, highest), max_size=2)):
                words.insert(draw(st.integers(0, len(words))), f"#{earlier}")
        line = " ".join(words)
        plan.append(line if is_normalised(line) else f"Who {line}?")
    return tuple(plan)


@st.composite
def mutated_plans(draw: st.DrawFn) -> str:
    text = render_plan(draw(plans(backward=False)))
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        piece = draw(st.sampled_from(["", "\n", "#", "1. ", "\n3. ", "***", "<think>", "Answer:", text[start:end]]))
        text = text[:start] + piece + text[end:]
    return text


@given(plans())
@example(())
@example(("What does <think> mean?", "When is </think> written after #1?"))
def test_a_rendered_plan_parses_to_itself(plan: tuple[str, ...]) -> None:
    assert parse_plan(render_plan(plan)) == plan


@given(st.text() | mutated_plans())
@example("1. ***")
@example("1. Who?\n2. What is #" + "9" * 5000 + "?")
def test_any_text_is_a_plan_or_our_error(text: str) -> None:
    with contextlib.suppress(DecompositionError):
        plan = parse_plan(text)
        assert Decomposition(question=ASKED, subquestions=plan).subquestions == plan
        assert parse_plan(render_plan(plan)) == plan


PLAN = ("How many pens are in 3 boxes of 12?", "How many of #1 are left after 7 are given away?")


@pytest.mark.parametrize(
    "text",
    [
        *(render_plan(PLAN), f"\n  1. {PLAN[0]}  \r\n  2.  {PLAN[1]}\r\n", f"1) {PLAN[0]}\n2) {PLAN[1]}"),
        *(f"(1) {PLAN[0]}\n(2) {PLAN[1]}", f"Q1: {PLAN[0]}\nQ2: {PLAN[1]}", f"**1.** {PLAN[0]}\n**2.** {PLAN[1]}"),
        *(f"1. **{PLAN[0]}**\n2. **{PLAN[1]}**", f"**1. {PLAN[0]}**\n**2. {PLAN[1]}**"),
        f"**Subquestion 1:** {PLAN[0]}\n**Subquestion 2:** {PLAN[1]}",
        f"**Sub-question 1**: {PLAN[0]}\n**Sub-question 2**: {PLAN[1]}",
        f"### Step 1: {PLAN[0]}\n### Step 2: {PLAN[1]}",
        f"- Subquestion #1: {PLAN[0]}\n- Subquestion #2: {PLAN[1]}",
        f"Here are 2 subquestions:\n\n1. {PLAN[0]}\n\n2. {PLAN[1]}\n\nLet me know if you need more.",
        f"<think>\n1. Boxes?\n5. Pens?\n</think>\n\n1. {PLAN[0]}\n2. {PLAN[1]}",
        f"Boxes first.\n3. Or not?\n</think>\n\n1. {PLAN[0]}\n2. {PLAN[1]}",
    ],
)
def test_a_plan_is_read_in_the_forms_models_write(text: str) -> None:
    assert parse_plan(text) == PLAN


@pytest.mark.parametrize(
    "text",
    [
        *(NO_DECOMPOSITION, "no decomposition needed", "**No decomposition needed.**"),
        *("No decomposition is needed; one step is enough.", "No decomposition required."),
        *("<think>1. Easy?</think>No decomposition needed.", "1. No decomposition needed."),
        "Here is the plan:\n\n**1.** **No decomposition is needed**; one step is enough.",
    ],
)
def test_the_sentinel_is_read_in_the_forms_models_write(text: str) -> None:
    assert parse_plan(text) == ()


@pytest.mark.parametrize("plan", [("Why was no decomposition needed?",), ("What is salt?", "No decomposition needed.")])
def test_words_of_the_sentinel_within_a_plan_are_a_subquestion(plan: tuple[str, ...]) -> None:
    assert parse_plan(render_plan(plan)) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"wrote no plan: expected numbered lines or 'No decomposition needed\.', got ''"),
        ("Sure, I can help with that!", "wrote no plan.*got 'Sure, I can help with that!'"),
        *(("- A thing.\n- Another.", "wrote no plan"), ("<think>1. Who?", "wrote no plan")),
        ("1.\n2.", "wrote no plan"),
        ("2. Who?", "do not run 1, 2, 3 …: line 1 is numbered 2"),
        *(("1. Who?\n3. When?", "line 2 is numbered 3"), ("1. Who?\n1. When?", "line 2 is numbered 1")),
        ("1. What is #1?", "Subquestion 1 refers to #1, which is not an earlier one"),
        ("1. Who?\n2. Is #3 older?\n3. When?", "Subquestion 2 refers to #3"),
        ("1. Who?\n2. What is #12?", "Subquestion 2 refers to #12"),
        ("1. Who?\n2. What is #0?", "Subquestion 2 refers to #0"),
        *(("1. ***", "Subquestion 1 is empty"), ("x" * 500, "got '" + "x" * 119 + r"\.")),
    ],
)
def test_what_is_no_plan_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(DecompositionError, match=message) as caught:
        parse_plan(text)
    assert caught.value.llm_output == text


QUESTIONS = st.sampled_from(
    [ASKED, Question(text="How many pens?"), Question(text="?"), Question(text="#1 pens 1. How")]
)
MESSY = st.lists(
    st.text(max_size=6) | COMMON | st.sampled_from(["#1", "#2 pens", "#9", "how MANY pens", "\n"]), max_size=9
)


@given(plans() | MESSY.map(tuple), QUESTIONS, st.integers(1, 9))
def test_a_cleaned_plan_is_valid_within_the_cap_and_stays_the_same_when_cleaned_again(
    plan: tuple[str, ...], question: Question, cap: int
) -> None:
    kept = clean_plan(plan, question, cap)
    assert len(kept) <= cap
    assert clean_plan(kept, question, cap) == kept
    assert len({subquestion.casefold() for subquestion in kept}) == len(kept)
    assert Decomposition(question=question, subquestions=kept).subquestions == kept
    for number, subquestion in enumerate(kept, start=1):
        assert all(1 <= reference < number for reference in references(subquestion))


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        ((), ()),
        (("Who?", "When?"), ("Who?", "When?")),
        (("Who?", "who", "Where was #2?"), ("Who?", "Where was #1?")),
        (("Who is Ann\u2019s son?", "Who is Ann's son", "Is #2 old?"), ("Who is Ann\u2019s son?", "Is #1 old?")),
        (("Who?", "WHO!", "When?", "Was #2 born in #3?"), ("Who?", "When?", "Was #1 born in #2?")),
        (("Who?", "Who?", "Is #1 tall?", "Is #2 tall?"), ("Who?", "Is #1 tall?")),
        (("how many pens are left", "Why #1?", "And #2?", "Who?"), ("Who?",)),
        (("Who?", ASKED.text.upper(), "Is #1 in #2?", "Is #1 in?"), ("Who?", "Is #1 in?")),
        (("???", "Who?", "Is #2 tall?"), ("Who?", "Is #1 tall?")),
        (("Is #2 tall?", "Who?", "Is #3 tall?"), ("Who?",)),
        (
            ("What is 5 + 3?", "What is 5 - 3?", "What is 5 * 3?"),
            ("What is 5 + 3?", "What is 5 - 3?", "What is 5 * 3?"),
        ),
        (("What is 3 + 1?", "What is 3 + #1?"), ("What is 3 + 1?", "What is 3 + #1?")),
        (("Is C old?", "Is C++ old?", "Is C# old?"), ("Is C old?", "Is C++ old?", "Is C# old?")),
        (("\u0915\u093e?", "\u0915\u0940?"), ("\u0915\u093e?", "\u0915\u0940?")),  # they differ in a vowel sign
        (("A?", "a", "B?", "C?", "Is #4 D?"), ("A?", "B?", "C?")),
        (("How far is A?", "Given #1, how far is A?", "Is #2 far?"), ("How far is A?", "Is #1 far?")),
        (("How far is A?", "Given #1, how far is B?"), ("How far is A?", "Given #1, how far is B?")),
        (("How far is A?", "Given #1, how many pens are left?"), ("How far is A?",)),
    ],
)
def test_repeats_and_restatements_go_and_references_follow(plan: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert clean_plan(plan, ASKED, 3) == kept


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("Mia has 3 pens.\nHow many are left?", "How many are left?"),
        ("He asked \u201cReady?\u201d How many are left?", "how many are left"),
        ("\u5c0f\u660e\u67093\u4e2a\u3002\u8fd8\u5269\u51e0\u4e2a\uff1f", "\u8fd8\u5269\u51e0\u4e2a?"),
    ],
)
def test_the_last_sentence_of_the_question_is_a_restatement(text: str, last: str) -> None:
    assert clean_plan((last, "Who?"), Question(text=text), 3) == ("Who?",)


@pytest.mark.parametrize(
    "piece",
    [
        *("`", "``a", "`a`", "**a", "**a ", "* a", "_a_ "),
        *(" ", "*", "#", "_", "\n", "1", "1. ", "{", "$", '"', ".*", "a. ", "- a\n", "the "),
        *("Answer:", "Answer:\n", "Answer\n", "answer is ", "\\boxed{", "\n#### ", "<think>", "</think>\n"),
    ],
)
def test_a_model_that_repeats_itself_is_read_in_no_time(piece: str) -> None:
    text = piece * (20_000 // len(piece)) + "x"
    start = time.process_time()
    for reply in (text, f"Answer: {text}", f"1. {text}", f"\\boxed{{{text}"):
        parse_answer(reply)
        with contextlib.suppress(DecompositionError):
            parse_plan(reply)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "text",
    [
        *(f"- {PLAN[0]}\n- {PLAN[1]}", f"Here you are:\n* {PLAN[0]}\n* {PLAN[1]}"),
        *(f"1\u3001{PLAN[0]}\n2\u3001{PLAN[1]}", f"\uff11\uff0e{PLAN[0]}\n\uff12\uff0e{PLAN[1]}"),
        f"Alternative Question 1: {PLAN[0]}\nAlternative Question 2: {PLAN[1]}",
        f"1. **{PLAN[0]}** (boxes)\n2. **{PLAN[1]}** (the rest)",
        *(f'1. "{PLAN[0]}"\n2. \u201c{PLAN[1]}\u201d', f'["{PLAN[0]}", "{PLAN[1]}"]'),
        f'```json\n{{"subquestions": [{{"question": "{PLAN[0]}"}}, {{"question": "{PLAN[1]}"}}]}}\n```',
    ],
)
def test_a_plan_of_another_model_is_read_without_its_marks(text: str) -> None:
    assert parse_plan(text) == PLAN


@pytest.mark.parametrize("text", ["[1, 2]", '{"answer": "29"}', '[["Who?"]]', "[" * 5000, '["", ""]'])
def test_json_that_holds_no_subquestions_is_no_plan(text: str) -> None:
    with pytest.raises(DecompositionError, match="wrote no plan"):
        parse_plan(text)


@pytest.mark.parametrize(
    ("line", "is_asking"),
    [
        *(("Who?", True), ("Find the price of #1", True), ("Quand ?", True), ("\u8c01\u5199\u4e86\u4e66", True)),
        ("given #1, how old", True),
        *(("It was built in 1931.", False), ("Mia has 36 pens.", False), ("#1 + 2 = 5", False), ("", False)),
    ],
)
def test_a_line_that_asks_is_told_from_one_that_asks_nothing(line: str, is_asking: bool) -> None:
    assert asks(line) is is_asking


@pytest.mark.parametrize(
    ("asked", "written", "kept"),
    [
        ("What does E_CONN_1193 mean and who throws it?", "What does ECONN_1193 mean?", "What does E_CONN_1193 mean?"),
        ("Who wrote moment-lite, and when?", "Who wrote momentlite?", "Who wrote moment-lite?"),
        ("Is nd-parse older than ndparse?", "How old is ndparse?", "How old is ndparse?"),
        ("Do they open at 9 a.m. and is it far?", "When am I there?", "When am I there?"),
    ],
)
def test_a_name_that_lost_its_inner_marks_is_spelled_as_the_question_spells_it(
    asked: str, written: str, kept: str
) -> None:
    assert clean_plan((written,), Question(text=asked), 4) == (kept,)
