"""Tests of how replies are judged, benchmark by benchmark."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from langchain_divconq.answers import parse_answer
from training.example import Example
from training.measure.verdicts import Verdict, judge

any_text = st.text(max_size=40) | st.text(alphabet="0123456789.,/-+=$% abcthe½²\u2013\n", max_size=25)
sources = st.sampled_from(["gsm8k", "drop", "bamboogle", "musique", "strategyqa"])


def example(source: str, *answers: str) -> Example:
    return Example(id=f"{source}/1", source=source, split="test", question="How many pens has Ana?", answers=answers)


def judged(source: str, answer: str, *gold: str) -> Verdict:
    return judge(example(source, *gold), f"Some working.\nAnswer: {answer}", answer)


@pytest.mark.parametrize(
    ("answer", "gold", "strict"),
    [
        *(("72", "72", 1), ("$1,072.00", "1072", 1), ("72 pens", "72", 1), ("72%", "72", 1)),
        *(("Ana has 72 pens.", "72", 1), ("6 * 12 = 72", "72", 1), ("-3", "-3", 1), ("2.5", "2.50", 1)),
        *(("72.5", "72", 0), ("172", "72", 0), ("0.72", "72", 0), ("72 or 73", "72", 0), ("6 * 12", "72", 0)),
        *(("12 pens and 60 pencils", "72", 0), ("3", "-3", 0), ("many", "72", 0)),
    ],
)
@pytest.mark.parametrize("source", ["gsm8k", "gsm8k_socratic", "gsm8k_chatgpt"])
def test_a_gsm8k_answer_is_right_where_it_names_the_gold_number_alone(
    source: str, answer: str, gold: str, strict: float
) -> None:
    verdict = judged(source, answer, gold)
    assert (verdict.strict, verdict.f1, verdict.answer) == (strict, None, answer)
    assert verdict.why == ("right" if strict else "wrong")


@pytest.mark.parametrize(
    ("answer", "references", "strict", "f1"),
    [
        *(("5", ["5"], 1, 1.0), ("5 yards", ["5"], 0, 0.67), ("73.2%", ["73.2"], 1, 1.0), ("73.2%", ["73.2%"], 1, 1.0)),
        *(("$1.50", ["1.50"], 1, 1.0), ("the mill", ["inn", "Mill"], 1, 1.0), ("Ana and Ben", ["Ana and Ben"], 1, 1.0)),
        *(("Ben and Ana", ["Ana and Ben"], 1, 1.0), ("Ben, Ana", ["Ana and Ben"], 1, 1.0)),
        ("Cleo, Ben, and Ana", ["Ana and Ben and Cleo"], 1, 1.0),
        ("Ben; Ana", ["Ana and Ben"], 1, 1.0),
        ("Ana, Duke of Holm and Ben", ["Ana, Duke of Holm and Ben"], 1, 1.0),
        *(("Ana", ["Ana and Ben"], 0, 0.5), ("Ana, Ben, Cleo", ["Ana and Ben"], 0, 0.67)),
        ("Ana, Ben", ["Ana"], 0, 0.67),  # one span of two words: 1/2 and 1
        ("Ana and Ben", ["Ana"], 0, 0.5),  # one span of three words
        *(("May 3, 1807", ["3 May 1807"], 0, 1.0), ("Sandpit and", ["Sandpit"], 0, 0.67)),
    ],
)
def test_a_drop_answer_is_scored_as_one_span_or_as_the_several_it_lists(
    answer: str, references: list[str], strict: float, f1: float
) -> None:
    verdict = judged("drop", answer, *references)
    assert (verdict.strict, verdict.f1) == (strict, f1)


@pytest.mark.parametrize("source", ["bamboogle", "musique"])
@pytest.mark.parametrize(
    ("answer", "strict"), [("the Old Mill", 1), ("Holm Mill", 1), ("Old Mill in Holm", 0), ("Mill", 0)]
)
def test_text_is_right_where_it_equals_one_of_the_gold_answers(source: str, answer: str, strict: float) -> None:
    verdict = judged(source, answer, "Old Mill", "Holm Mill")
    assert (verdict.strict, verdict.f1) == (strict, None)


@pytest.mark.parametrize(
    ("answer", "strict"),
    [
        *(("May 3, 1807", 1), ("3 May 1807", 1), ("03 May, 1807", 1), ("the 3rd of May 1807", 0), ("3rd May 1807", 1)),
        *(("May 1807", 0), ("4 May 1807", 0), ("3 June 1807", 0)),
    ],
)
def test_a_date_is_the_same_in_another_order(answer: str, strict: float) -> None:
    assert judged("bamboogle", answer, "3 May 1807").strict == strict


@pytest.mark.parametrize(("answer", "strict"), [("Yes", 1), ("True", 1), ("Yes, it is", 1), ("No", 0), ("Perhaps", 0)])
def test_yes_and_no_are_judged_as_what_they_say(answer: str, strict: float) -> None:
    assert judged("strategyqa", answer, "yes").strict == strict


@pytest.mark.parametrize(
    ("source", "gold", "reply", "lenient"),
    [
        *(("gsm8k", "72", "First 60, then 72. In all 90.", 1), ("gsm8k", "1072", "That is $1,072.00", 1)),
        *(("gsm8k", "72", "In all 172, or 72.5", 0), ("gsm8k", "72", "", 0), ("drop", "73.2", "It is 73.2%", 1)),
        *(("drop", "Ana and Ben", "Ben came before Ana", 1), ("drop", "Ana and Ben", "Ben came alone", 0)),
        ("bamboogle", "Old Mill", "They met at the old-mill inn.", 1),
        ("bamboogle", "Old Mill", "They met at the mill.", 0),
        *(("bamboogle", "1807", "In 1807, not 1808", 1), ("bamboogle", "1807", "In the year 18070", 0)),
        *(("strategyqa", "no", "Nobody knows", 0), ("strategyqa", "no", "So no, it cannot", 1)),
    ],
)
@pytest.mark.parametrize("answered", [True, False])
def test_lenient_is_a_gold_answer_anywhere_in_the_reply(
    source: str, gold: str, reply: str, lenient: float, answered: bool
) -> None:
    assert judge(example(source, gold), reply, "something else" if answered else None).lenient == lenient


@pytest.mark.parametrize("answer", [None, "", "  "])
@pytest.mark.parametrize("source", ["gsm8k", "drop", "musique"])
def test_a_reply_without_an_answer_is_wrong_though_the_gold_answer_stands_in_it(
    source: str, answer: str | None
) -> None:
    verdict = judge(example(source, "72"), "It may be 72, or not.", answer)
    assert (verdict.strict, verdict.lenient, verdict.why) == (0.0, 1.0, "no answer")
    assert (verdict.f1, verdict.answer) == (0.0 if source == "drop" else None, None)


def test_any_of_several_gold_answers_will_do() -> None:
    assert judged("musique", "Ben", "Ana", "Ben").strict == 1.0
    assert judged("gsm8k", "5", "4", "5").strict == 1.0


@pytest.mark.parametrize("answers", [(), ("",), (" ",)])
def test_an_example_without_gold_answers_is_refused(answers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="drop/1 has no gold answer to judge by"):
        judge(example("drop", *answers), "Answer: 5", "5")


@given(sources, st.lists(any_text, min_size=1, max_size=3), any_text, any_text | st.none())
def test_whatever_the_texts_scores_lie_between_0_and_1(
    source: str, gold: list[str], reply: str, answer: str | None
) -> None:
    assume(any(one.strip() for one in gold))
    verdict = judge(example(source, *gold), reply, answer)
    assert verdict.strict in (0.0, 1.0)
    assert verdict.lenient in (0.0, 1.0)
    assert (verdict.f1 is None) is (source != "drop")
    assert verdict.f1 is None or 0.0 <= verdict.f1 <= 1.0
    assert (verdict.why == "right") is bool(verdict.strict)


names = st.lists(
    st.sampled_from(["Ana", "Ben Ruiz", "Cleo", "the mill", "17", "3.5", "May 1807"]), min_size=1, unique=True
)


@given(names)
def test_a_drop_reference_is_right_against_itself_with_full_f1_in_any_order_and_with_commas(spans: list[str]) -> None:
    gold = " and ".join(spans)
    for answer in (gold, " and ".join(reversed(spans))):
        verdict = judged("drop", answer, gold)
        assert (verdict.strict, verdict.f1) == (1.0, 1.0)
    assert judged("drop", ", ".join(spans), gold).strict == 1.0


@given(sources, any_text)
def test_a_gold_answer_is_right_against_itself(source: str, gold: str) -> None:
    assume(any(character.isalnum() for character in gold))
    assert judged(source, gold, gold).strict == 1.0
    assert judged(source, gold, "another", gold).strict == 1.0


@given(any_text)
def test_whatever_the_reply_its_parsed_answer_is_judged(reply: str) -> None:
    verdict = judge(example("gsm8k", "5"), reply, parse_answer(reply))
    assert (verdict.why == "no answer") is (parse_answer(reply) is None)
