import pytest

from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.training_tests.examples import example
from training.config import Role
from training.student.targets import target

EXAMPLE = example(
    question="Mia has 3 boxes of 12 pens and gives away 7. How many pens are left?",
    answers=("29",),
    subquestions=("How many pens does Mia have in 3 boxes of 12?",),
    subanswers=("3 * 12 = 36 pens.",),
    prediction="28",
)


def test_a_decomposer_learns_the_plan() -> None:
    taught = target(EXAMPLE, "S_D-T", 3)
    assert [message.text for message in taught.prompt] == [
        "Split the question into at most 3 simpler subquestions.",
        f"Question: {EXAMPLE.question}",
    ]
    assert taught.completion == "1. How many pens does Mia have in 3 boxes of 12?"
    assert target(EXAMPLE, "S_D-R", 3) == taught


def test_the_cap_a_decomposer_is_told_is_one_that_its_plan_keeps_to() -> None:
    def caps(count: int, most: int) -> set[str]:
        plan = tuple(f"Who is {n}?" for n in range(count))
        examples = (EXAMPLE.model_copy(update={"id": f"own/{n}", "subquestions": plan}) for n in range(30))
        return {target(example, "S_D-T", most).prompt[0].text.split()[6] for example in examples}

    assert caps(2, 5) == {"3", "4", "5"}
    assert caps(4, 5) == {"4", "5"}
    assert caps(0, 3) == caps(3, 3) == {"3"}
    assert caps(1, 2) == {"2"}


def test_a_question_of_one_step_teaches_the_sentinel() -> None:
    assert target(EXAMPLE.model_copy(update={"subquestions": ()}), "S_D-T", 3).completion == NO_DECOMPOSITION


@pytest.mark.parametrize(
    ("role", "working", "completion"),
    [
        ("S_E-T", None, "1. 3 * 12 = 36 pens.\n\nAnswer: 28"),
        ("S_E-T", "36 less 7 are 28.", "1. 3 * 12 = 36 pens.\n\n36 less 7 are 28.\n\nAnswer: 28"),
        ("S_E-A", None, "1. 3 * 12 = 36 pens.\n\nAnswer: 29"),
        ("S_E-A", "36 less 7 are 28.", "1. 3 * 12 = 36 pens.\n\nAnswer: 29"),
        ("S_E-T-direct", "36 less 7 are 28.", "Answer: 28"),
        *(("S_E-T-direct", None, "Answer: 28"), ("S_E-A-direct", None, "Answer: 29")),
    ],
)
def test_a_solver_learns_the_steps_and_the_teachers_answer_with_its_working_or_the_gold_one(
    role: Role, working: str | None, completion: str
) -> None:
    taught = target(EXAMPLE.model_copy(update={"working": working}), role, 3)
    assert taught.completion == completion
    assert EXAMPLE.question in taught.prompt[-1].text
    assert (EXAMPLE.subquestions[0] in taught.prompt[-1].text) == ("direct" not in role)  # type: ignore[index]


def test_a_question_of_one_step_is_worked_out_before_it_is_answered() -> None:
    worked = EXAMPLE.model_copy(update={"subquestions": (), "working": "36 less 7 are 28."})
    assert target(worked, "S_E-T", 3).completion == "36 less 7 are 28.\n\nAnswer: 28"


def test_what_a_role_needs_and_an_example_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"own/1 has no subquestions; run the demonstrate stage first\."):
        target(EXAMPLE.model_copy(update={"subquestions": None}), "S_D-T", 3)
    with pytest.raises(ValueError, match=r"own/1 has no answer for S_E-T; run the screen stage first\."):
        target(EXAMPLE.model_copy(update={"prediction": None}), "S_E-T", 3)
    with pytest.raises(ValueError, match="own/1 has no answer to each subquestion"):
        target(EXAMPLE.model_copy(update={"subanswers": None}), "S_E-A", 3)
