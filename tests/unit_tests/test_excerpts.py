import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.excerpts import CONTEXT_BUDGET, LEFT_OUT, excerpt
from langchain_divconq.prompts import decomposition_prompt, render_question
from langchain_divconq.types import Question
from tests.unit_tests.fakes import scripted

ASKED = "Which smith forged the bell of Kell, and when did it crack?"
FORGED = "Orla Venn, a smith, forged the bell in 1902."
CRACKED = "In Kell the bell did crack in the frost of 1931."
FILLER = " ".join(f"Number {number} of the rafters was felled from oak near the village." for number in range(40))
LONG = f"{FILLER} {FORGED} {FILLER} {CRACKED} {FILLER}"

LUMPS = st.sampled_from(
    [FORGED, CRACKED, "It rains! (So it is said.) ", "e.g. J. Smith", "鐘は一九〇二年に鋳造された。", "x" * 900]
)
CONTEXTS = st.builds(
    lambda parts, blank, times: blank.join(parts) * times,
    st.lists(LUMPS | st.text(max_size=60), max_size=30),
    st.sampled_from([" ", "", "\n", "\n\n  ", LEFT_OUT]),
    st.integers(1, 8),
)


@given(CONTEXTS, st.just(ASKED) | st.text())
def test_whatever_the_context_an_excerpt_keeps_to_the_budget_and_to_the_order_of_the_text(
    context: str, asked: str
) -> None:
    shown = excerpt(context, asked)
    assert len(shown) <= CONTEXT_BUDGET
    assert bool(shown.strip()) == bool(context.strip())
    if len(context) <= CONTEXT_BUDGET:
        assert shown == context
    text, position = " ".join(context.split()), 0
    for part in shown.split(LEFT_OUT.strip()):
        part = " ".join(part.split())
        assert part in text[position:]
        position = text.index(part, position) + len(part)


@pytest.mark.parametrize("length", [1, CONTEXT_BUDGET - 1, CONTEXT_BUDGET])
def test_a_context_within_the_budget_is_shown_to_the_character(length: int) -> None:
    context = "\n  A  bell. \t".ljust(length, "!")[:length]
    assert excerpt(context, ASKED) == context


def test_what_shares_words_with_the_question_is_shown_in_its_own_order() -> None:
    shown = excerpt(LONG, ASKED)
    assert f"{LEFT_OUT}{FORGED}{LEFT_OUT}{CRACKED}" in shown
    assert excerpt(f"{FILLER} {CRACKED} {FILLER} {FORGED}", ASKED).endswith(f"{CRACKED}{LEFT_OUT}{FORGED}")


def test_what_is_shown_beside_it_is_the_beginning_in_whole_sentences() -> None:
    beginning, *_ = excerpt(LONG, ASKED).split(LEFT_OUT)
    assert LONG.startswith(f"{beginning} ")
    assert beginning.endswith(".")
    assert len(beginning) > CONTEXT_BUDGET / 2


def test_where_nothing_is_shared_the_beginning_is_shown() -> None:
    shown = excerpt(f"{FILLER} It rains.", ASKED)
    assert FILLER.startswith(f"{shown} ")
    assert shown.endswith(".")


@pytest.mark.parametrize("name", ["J. Smith", "St. Ives", "Dr. Ada Orr", "approx. nine men"])
def test_a_sentence_does_not_end_behind_an_initial_or_a_title(name: str) -> None:
    sentence = f"The bell was cast by {name} of Kell."
    assert sentence in excerpt(f"{FILLER} {sentence} {FILLER}", ASKED)


def test_lines_of_a_table_count_as_sentences_and_lines_that_go_on_do_not() -> None:
    table = "\n".join(f"Rafter {number};oak;{number} years" for number in range(60))
    assert excerpt(f"{table}\nBell;Kell;1902\n{table}", ASKED).endswith(f"{LEFT_OUT}Bell;Kell;1902")
    wrapped = FORGED.replace(" forged", "\n  forged")
    assert FORGED.replace(" forged", "\nforged") in excerpt(f"{FILLER} {wrapped} {FILLER}", ASKED)


def test_a_sentence_longer_than_the_budget_is_cut_at_words() -> None:
    endless = ("oak and ash and elm and " * 60) + "then Orla the smith of Kell forged a bell " + ("and fir " * 90)
    shown = excerpt(endless, ASKED)
    assert "Orla the smith of Kell forged a bell" in shown
    assert set(shown.replace(LEFT_OUT, " ").split()) <= set(endless.split())
    assert len(shown) > CONTEXT_BUDGET / 2


def test_a_word_longer_than_the_budget_is_cut_anywhere() -> None:
    assert set(excerpt("x" * 5000, ASKED)) == {"x"}


def test_blanks_alone_make_no_context_long() -> None:
    assert excerpt("A bell.\n" + " " * 900 + "\n\n It   cracked. ", ASKED) == "A bell.\nIt cracked."


@pytest.mark.parametrize("style", ["student", "zero_shot", "one_shot"])
def test_every_decomposer_is_shown_the_excerpt_and_the_last_label_is_the_prompts(style: str) -> None:
    question = Question(text=ASKED, context=f"{LONG} Question: which smith forged a bell?")
    shown = decomposition_prompt(question, 3, style)[-1].text  # type: ignore[arg-type]
    assert len(shown) < CONTEXT_BUDGET + len(f"Context: \n\nQuestion: {ASKED}") + 9
    assert "Question - which smith forged a bell?" in shown
    assert shown.count("Question:") == 1
    short = question.model_copy(update={"context": FORGED})
    assert decomposition_prompt(short, 3, style)[-1].text == render_question(short)  # type: ignore[arg-type]


def test_the_solver_reads_the_whole_context_and_a_plan_may_name_what_the_decomposer_was_not_shown() -> None:
    context = f"{FILLER} Nothing is known of Ebba Roth. {FILLER}"
    assert "Ebba" not in excerpt(context, ASKED)
    decomposer = scripted("1. Which smith forged the bell of Kell?\n2. When did the bell of Ebba Roth crack?")
    solver = scripted("Answer: Orla Venn")
    chain = DivideAndConquer(solver=solver, decomposer=Decomposer(decomposer, gate="always"))
    message = chain.invoke({"question": ASKED, "context": context})
    assert isinstance(message, AIMessage)
    assert context not in decomposer.seen[0][-1].text
    assert f"Context: {context}\n" in solver.seen[0][-1].text
    assert "Ebba Roth crack?" in solver.seen[0][-1].text
