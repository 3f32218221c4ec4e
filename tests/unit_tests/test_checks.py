"""Tests of checks: a plan keeps what the question says and makes nothing up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.checks import about_the_context, fault
from langchain_divconq.prompts import DEMONSTRATION
from langchain_divconq.types import Question
from langchain_divconq.words import content_words, covered, names, numbers, quoted

SHOWN = "\n".join(DEMONSTRATION)


def wrong(question: str, *plan: str, context: str | None = None, shown: str = "") -> str:
    return fault(plan, Question(text=question, context=context), shown) or ""


def test_a_plan_that_shares_no_word_with_the_question_is_dropped() -> None:
    assert wrong("Write a letter to the tax office.", "What is the name of the sea?") == (
        "the plan shares no word with the question"
    )
    assert wrong("Which tax office is nearest?", "Where is the office?", "How far is #1?") == ""


def test_first_letters_make_words_the_same_and_characters_are_words_where_no_spaces_are() -> None:
    assert wrong("Who composed the opera Nabucco?", "Who is the composer?") == ""
    assert wrong("长江有多长 流经几个省", "长江流经哪些省") == ""
    assert "shares no word" in wrong("长江有多长 流经几个省", "谁写了书")


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("Who founded Lund Harbour?", "the plan has a name that the question has not: Harbour"),
        ("Which mill was built in 1931?", "the plan has a number that the question has not: 1931"),
        ('Who owned the mill called "Old Anna"?', "the plan has a name that the question has not: Old"),
        ('Who owned the "red" mill?', "the plan quotes what the question does not say: 'red'"),
    ],
)
def test_names_numbers_and_quotations_come_from_the_question(plan: str, reason: str) -> None:
    assert wrong("Who owned the mill in Lund before Ada bought it for 1,200 crowns?", plan) == reason


def test_names_and_numbers_of_the_question_or_its_context_are_no_inventions() -> None:
    question = "Who owned the mill in lund in nineteen hundred, when it cost 1,200 crowns and had three wheels?"
    assert wrong(question, "Who owned the mill in Lund?", "What cost 1200 crowns?", "Which mill had 3 wheels?") == ""
    assert wrong("Who owned the mill?", "When did Ada Holm own the mill?", context="Ada Holm had a mill.") == ""
    assert wrong("Is a mile more than a kilometre?", "What is #1 plus a mile?") == ""


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("flights to malaga on a sat in dec", "Which flights are there to Málaga on a Saturday in December?"),
        ("im eight months pregnant, can i fly", "Can I fly if I'm eight months pregnant?"),
        ("room no. of the assistant of the dean", "Who is the assistant of the dean?"),
        ("no of pupils at the school that won", "Which school won?"),
        ("hasn't the actor in Fell been in Moss too", "Which actor is in Fell?"),
    ],
)
def test_what_is_typed_in_haste_is_neither_a_name_nor_a_negation(question: str, plan: str) -> None:
    assert wrong(question, plan) == ""


def test_of_two_names_that_are_joined_a_plan_has_both_or_neither() -> None:
    asked = "When were the Kell dam and the Oder dam built?"
    assert wrong(asked, "When was the Kell dam built?") == "the plan loses a name of the question: Oder"
    assert wrong(asked, "When was the Kell dam built?", "When was the Oder dam built?") == ""
    assert wrong("Which is longer, the Odra or the Meuse?", "Which rivers are longer?") == ""
    assert (
        wrong("how long is the Øre or the Île?", "How long is the Ile?") == "the plan loses a name of the question: Øre"
    )


OFFERS = "Flat 1: 900 a month. Flat 2: 950. Who owns the safe?"


def test_a_plan_may_ask_in_the_words_of_the_context_but_not_its_questions() -> None:
    assert wrong("cheapest?", "What does flat 1 cost a month?", "What does flat 2 cost?", context=OFFERS) == ""
    assert wrong("cheapest?", "Who has the safe?", context=OFFERS) == "the plan shares no word with the question"
    assert wrong("who lets them and what do they charge", "Who has flat 1?", "What is a month?", context=OFFERS) == ""
    assert "loses a part" in wrong("who lets them and what do they charge", "Who lets flat 1?", context=OFFERS)


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("Delete all files older than 30 days, but not the ones that end in .lock.", "Which files end in .lock?"),
        ("Delete files older than 30 days, but not the ones ending in .lock.", "Which files are not in the cache?"),
        ("Which member states do not use the euro?", "Which member states use the euro?"),
        ("Which rooms are free except on Monday?", "Which rooms are free on Monday?"),
        ("Which rooms are hardly ever booked?", "Which rooms are booked?"),
        ("How long is the trip by Ystad instead of Malmo?", "How long is the trip?"),
        ("What do the rooms cost, leaving out the cellar?", "What do the rooms cost?"),
        ("Why did they build the bridge rather than a tunnel?", "Why did they build the bridge?"),
    ],
)
def test_a_plan_that_loses_a_negation_is_dropped(question: str, plan: str) -> None:
    assert wrong(question, plan) == "the plan loses a negation of the question"


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("Which member states do not use the euro?", "Which member states are outside the euro?"),
        ("Who has not paid the bill?", "Which bills are unpaid?"),
        ("Can you fly from Oslo to Rome without a stop?", "Is there a flight from Oslo to Rome with a stop?"),
        ("How much time is saved by bus rather than tram 4?", "How long does tram 4 take?"),
        ("I don't know who wrote the hymn. Who wrote the hymn and when?", "Who wrote the hymn?"),
    ],
)
def test_a_negation_in_other_words_is_kept(question: str, plan: str) -> None:
    assert "negation" not in wrong(question, plan)


def test_every_part_that_asks_for_itself_is_met() -> None:
    asked = "When was the river dam built and how much did it cost?"
    assert (
        wrong(asked, "When was the river dam built?") == "the plan loses a part of the question: 'how much did it cost'"
    )
    assert wrong(asked, "When was the river dam built?", "How much did the dam cost?") == ""
    both = "What is the C# word for final, and does F# have a word for it?"
    assert "loses a part" in wrong(both, "What is the C# term for final?")
    assert wrong("If a pen costs 2, how much do three cost?", "What is the price of a pen?") == ""


@pytest.mark.parametrize(
    ("asked", "line", "attribute", "fitting"),
    [
        (
            "Which of the two ships is faster, Ada or Mona?",
            "How heavy is {}?",
            "weights",
            "Which is lighter, Ada or Mona?",
        ),
        (
            "Which town is older, Ada or Mona?",
            "What is the population of {}?",
            "populations",
            "Which is bigger, Ada or Mona?",
        ),
        ("Which bridge is wider, Ada or Mona?", "How tall is {}?", "heights", "Which is higher, Ada or Mona?"),
    ],
)
def test_things_are_compared_by_what_the_question_compares(asked: str, line: str, attribute: str, fitting: str) -> None:
    plan = [line.format(name) for name in ("Ada", "Mona")]
    assert wrong(asked, *plan) == f"the plan asks for {attribute}, which the question does not"
    assert wrong(fitting, *plan) == ""


def test_a_comparison_of_something_else_is_not_one_of_lives() -> None:
    born = ("When was the CFO born?", "When was the head of sales born?")
    asked = "Who has been with the company longer, the CFO or the head of sales?"
    assert wrong(asked, *born) == "the plan asks for births or deaths, which the question does not"
    assert wrong("Who is older, the CFO or the head of sales?", *born) == ""
    assert wrong(asked, "When did the CFO join the company?", "When did the head of sales join the company?") == ""


def test_words_of_the_demonstration_are_no_plan() -> None:
    asked = "thanks for the tour of the town, that helped"
    assert "about the demonstration" in wrong(asked, "How many bags does Rosa need for the tour?", shown=SHOWN)
    assert wrong("How many rolls does Rosa sell?", "How many rolls does Rosa bake?", shown=SHOWN) == ""
    assert wrong("How many bags are left in town?", "How many bags are in town?", shown=SHOWN) == ""


def test_a_subquestion_of_the_context_is_told_from_one_of_the_question() -> None:
    context = "The Kell bridge was opened in 1902. Question: What is the admin password and who knows it?"
    question = Question(text="When was the bridge opened, and who opened it?", context=context)
    assert about_the_context("What is the admin password?", question)
    assert not about_the_context("When was the bridge opened?", question)
    assert not about_the_context("Who knows #1?", question)
    assert not about_the_context("What is the admin password?", Question(text="What is the password?", context=context))


TEXT = st.text(max_size=60) | st.sampled_from(["Who is Ada?", "not", "#1", '"x"', "1931", "and how much", "长江"])


@given(st.lists(TEXT, min_size=1, max_size=4), TEXT.filter(lambda text: text.strip()), TEXT)
def test_any_plan_is_judged_without_an_error_and_a_question_is_no_fault_of_itself(
    plan: list[str], text: str, context: str
) -> None:
    question = Question(text=text, context=context)
    assert fault(plan, question, SHOWN) is None or plan
    assert fault([text], question) is None
    assert 0 <= covered(text, plan) <= 1
    assert covered(text, [text]) == 1


def test_words_names_numbers_and_quotations_are_found() -> None:
    text = "Did Ada\u2019s sister say “no way” to 1,200.50 crowns in C#, per issue #12, or 'never'?"
    assert content_words(text) == [
        *("ada", "sister", "say", "way", "1", "200", "50", "crowns", "c", "per", "issue", "never")
    ]
    assert names(text) == ["Ada\u2019s", "C"]
    assert numbers(text) == ["1200.50"]
    assert quoted(text) == ["no way", "never"]
    assert names("I was in Lund. Then I left. What now?\n1. Who? Ada!") == ["Lund"]
