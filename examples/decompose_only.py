"""Only divide: subquestions for a chain of your own, with the probability that none are needed."""

from langchain_divconq import Decomposer, Question

decomposer = Decomposer(max_subquestions=2, gate="always")

questions = [
    Question(text="Who was mayor of Lund when the harbour bridge was opened?"),
    Question(text="How many carts crossed it in a week?", context="The bridge carried 30 carts a day."),
]
for question in questions:
    decomposition = decomposer.invoke(question)
    print(decomposition.question.text)
    for number, subquestion in enumerate(decomposition.subquestions, start=1):
        print(f"  {number}. {subquestion}")
    print(f"  needs no decomposition: {decomposition.no_decomposition_probability:.1%}")
