import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_divconq.answers import parse_answer


@given(st.text())
@example("")
@example("1. a")
def test_any_text_is_read_for_an_answer_without_an_error(text: str) -> None:
    answer = parse_answer(text)
    assert answer is None or answer == " ".join(answer.split()) != ""


WORKING = "Three boxes hold 3 * 12 = 36 pens, and after the gift there are 36 - 7 = 29 of them.\n"
FUSED = "1. 3 * 12 = 36\nAnswer: 36\n\n2. 36 - 7 = 29\nAnswer: 29\n\n"

ANSWERS = [
    # The line that was asked for.
    *(("Answer: 42", "42"), ("answer:42", "42"), ("ANSWER: 42", "42"), (WORKING + "Answer: 29", "29")),
    (WORKING + "\n**Answer:** 29\n", "29"),
    *((WORKING + "**Answer: 29**", "29"), (WORKING + "**Answer**: 29", "29")),
    (WORKING + "- **Answer:** **29** pens.", "29 pens"),
    *((WORKING + "> Answer: 29", "29"), (WORKING + "### Answer: 29", "29")),
    *((WORKING + "\u2705 **Final Answer:** 29", "29"), (WORKING + "Final answer: $1,200", "$1,200")),
    *((WORKING + "The final answer is: 29", "29"), (WORKING + "My answer: 29", "29")),
    (WORKING + "**Answer to the main question:** 29", "29"),
    *((WORKING + "Answer: 29\r\n", "29"), (WORKING + "Answer\uff1a 29", "29"), (WORKING + "Answer:\n29", "29")),
    *((WORKING + "**Answer:**\n\n**29**\n", "29"), (WORKING + "Answer:\n```\n29\n```", "29")),
    (WORKING + "Answer:\n\\[\n\\boxed{29}\n\\]", "29"),
    (WORKING + "Answer:\n\n- red\n- blue\n", "red, blue"),
    *((WORKING + "**Final Answer**\n\n29", "29"), (WORKING + "## Answer\n\n**29 pens.**", "29 pens")),
    # Several.
    ("Answer: 3\nNo, I forgot the gift.\nAnswer: 29", "29"),
    (FUSED + "Mia keeps 29 pens.\nAnswer: 29 pens", "29 pens"),
    (FUSED.replace("29\n\n", "29\n") + "3. 29 / 2 = 14.5\nAnswer: 14.5\n\nSo it is $\\boxed{14.5}$.", "14.5"),
    (FUSED + "The final line:\nAnswer:", None),
    ("Answer: 29\n\nThe answer is easy to check: 29 + 7 = 36.", "29"),
    # What an answer may look like.
    *(("Answer: U.S.", "U.S."), ("Answer: Washington, D.C.", "Washington, D.C."), ("Answer: 3:45 p.m.", "3:45 p.m.")),
    ("Answer: Martin Luther King Jr.", "Martin Luther King Jr."),
    *(("Answer: 3.5", "3.5"), ("Answer: 3.5.", "3.5"), ("Answer: 7.", "7"), ("Answer: B.", "B")),
    *(("Answer: Malcolm X.", "Malcolm X"), ("Answer: 12 pens.", "12 pens"), ("Answer: $5", "$5")),
    *(("Answer: $5 and $6", "$5 and $6"), ("Answer: 50%.", "50%"), ("Answer: -3", "-3"), ("Answer: 2**3", "2**3")),
    *(("Answer: \u221e", "\u221e"), ("Answer: <", "<"), ("Answer: red, blue", "red, blue")),
    *(('Answer: "Paris".', "Paris"), ("Answer: \u201cParis\u201d", "Paris")),
    ('Answer: "Emma" and "Persuasion"', '"Emma" and "Persuasion"'),
    *(("Answer: `x`", "x"), ("Answer: *Emma*.", "Emma"), ("Answer: ***Emma***", "Emma"), ("Answer: _Emma_", "Emma")),
    *(("Answer: __Emma__", "Emma"), ("Answer: **`x`**", "x")),
    ("Answer: **x** and **y**", "x and y"),
    *(("Answer:**29**", "29"), ("Answer: ``` 29 ```", "29")),
    # Marks that belong to it.
    *(("Answer: `__init__`", "__init__"), ("Answer: **`__init__`**", "__init__"), ("Answer: __init__", "__init__")),
    ("Answer: **__init__**.", "__init__"),
    *(("Answer: **kwargs", "**kwargs"), ("Answer: `**kwargs`", "**kwargs")),
    *(("**Answer:** `**kwargs`", "**kwargs"), ("Answer: **`**kwargs`**", "**kwargs")),
    *(("**Answer:** **kwargs", "**kwargs"), ("**Answer**: **kwargs", "**kwargs"), ("Answer: *args", "*args")),
    ("Answer: `*args*`", "*args*"),
    ("Answer: *args and **kwargs", "*args and **kwargs"),
    *(("Answer: `**a**` and **b**", "`**a**` and b"), ("Answer: `a` and `b`", "`a` and `b`")),
    *(("Answer: snake_case_", "snake_case_"), ("**Answer: snake_case_**", "snake_case_")),
    ("_Answer: snake_case_", "snake_case"),
    *(("Answer: _private", "_private"), ("Answer: A*", "A*"), ("* Answer: A*", "A*"), ("Answer: 2 * 3", "2 * 3")),
    ("Answer: *Emma* and *Persuasion*", "*Emma* and *Persuasion*"),
    ("**Answer: *Emma* and *Persuasion***", "*Emma* and *Persuasion*"),
    # Marks that the label opened.
    ("**Answer: 29** (that is all)", "29 (that is all)"),
    *(("**Answer: 29**.", "29"), ("***Answer:** 29*", "29"), ("**Answer**:**29**", "29"), ("`Answer: 29`", "29")),
    ("*Answer: 29.*", "29"),
    (WORKING + "That makes **29** pens. **Answer:** 29", "29"),
    (WORKING + "That makes 29 pens. **Answer: 29**", "29"),
    (WORKING + "**The answer is 29.** That is all.", "29"),
    (WORKING + "So **the answer is 29**.", "29"),
    (WORKING + "The answer is **29. That is all**.", "29"),
    *((WORKING + "The **answer is** `x_`.", "x_"), ("Answer: 10:30", "10:30")),
    ("Answer: \u5c0f\u660e\u3002", "\u5c0f\u660e"),
    *(("Answer: ...", None), ("Answer:", None), ("**Answer:** ", None)),
    # LaTeX.
    *(("Answer: \\(x\\)", "x"), ("Answer: $x$.", "x"), ("Answer: $$x$$", "x"), ("Answer: \\[ x \\]", "x")),
    *(("Answer: $x$ and $y$", "$x$ and $y$"), ("Answer: $12\\,\\text{cm}$", "12 cm")),
    ("Answer: \\(\\boxed{29}\\)", "29"),
    ("The result is \\boxed{\\frac{3}{4}}", r"\frac{3}{4}"),
    (WORKING + "Thus $\\boxed{\\frac{\\sqrt{3}}{4}}$.", r"\frac{\sqrt{3}}{4}"),
    *((WORKING + "\\[\\boxed{\\$1{,}200}\\]", "$1,200"), (WORKING + "\\boxed{\\text{12 pens}}", "12 pens")),
    (WORKING + "**Final Answer**\n\\[\n\\boxed{29}\n\\]", "29"),
    # Other ways to mark it.
    *((WORKING + "#### 29", "29"), (WORKING + "The answer is 29.", "29"), (WORKING + "So the answer is **29**.", "29")),
    (WORKING + "Therefore, the final answer is 3.5 km. That is all.", "3.5 km"),
    (WORKING + "The answer is George W. Bush. He won.", "George W. Bush"),
    (WORKING + "The answer is J. K. Rowling.", "J. K. Rowling"),
    (WORKING + "The correct answer is B. Mia sells them.", "B"),
    (WORKING + "That makes 29 pens. Answer: 29", "29"),
    # Thinking is no answer.
    ("<think>\nAnswer: 3? No.\n</think>\n\nAnswer: 29", "29"),
    ("Maybe.\nAnswer: 3\n</think>\n\nIt is 29.\nAnswer: 29", "29"),
    ("<thinking>Answer: 3</thinking>29", "29"),
    *(("<think>\nAnswer: 3", None), ("<think>3</think>", None)),
    ("Answer: the tag <think>", "the tag <think>"),
    # A reply that is nothing but the answer, and replies that hold none.
    *(("29", "29"), ("Paris.", "Paris"), ("$5", "$5")),
    ("Mia has 29 pens left.", "Mia has 29 pens left"),
    *(("", None), (" \n ", None), ("---", None), (WORKING, None), (WORKING + "A: 29", None)),
    (WORKING + "Answer the question first.", None),
    (WORKING + "#### Conclusion\nMia keeps the rest.", None),
    (WORKING + "### Answer\n3 * 12 = 36\n36 - 7 = 29", None),
    ("I will\nthink about it.", None),
]


@pytest.mark.parametrize(("reply", "answer"), ANSWERS, ids=[repr(reply)[-40:] for reply, _ in ANSWERS])
def test_the_final_answer_is_read_as_a_reader_would(reply: str, answer: str | None) -> None:
    assert parse_answer(reply) == answer
