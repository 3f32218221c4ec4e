"""The comparison of plans with whole contexts and with excerpts, with a scripted model in the decomposer's place."""

from langchain_core.messages import BaseMessage

from langchain_divconq.decomposer import Decomposer
from langchain_divconq.excerpts import CONTEXT_BUDGET
from langchain_divconq.prompts import NO_DECOMPOSITION
from tests.benchmarks.context_plans import compare_plans
from tests.unit_tests.fakes import ScriptedModel
from training.example import Example

REFERENCE = ("Which bell of Kell cracked?", "When was #1 forged?")
PLAN = "1. Which bell of Kell cracked?\n2. When was #1 forged?"
EXAMPLES = [
    Example(
        id=f"drop/{number}",
        source="drop",
        split="dev",
        question="When was the bell of Kell forged that cracked?",
        context="It rains. " * CONTEXT_BUDGET,
    )
    for number in range(4)
]


def only_with_a_whole_context(messages: list[BaseMessage]) -> str:
    return PLAN if len(messages[-1].text) > 2 * CONTEXT_BUDGET else NO_DECOMPOSITION


def test_what_an_excerpt_costs_is_the_difference_to_whole_contexts() -> None:
    decomposer = Decomposer(ScriptedModel(reply=only_with_a_whole_context))
    found = compare_plans([(example, REFERENCE) for example in EXAMPLES], decomposer)
    assert (found["n"], found["same"]) == (4, 0)
    assert found["agreement"]["whole"]["value"] == found["edge_recall"]["whole"]["value"] == 1
    assert found["agreement"]["difference"]["value"] == found["edge_recall"]["difference"]["value"] == -1
    assert found["undivided_multi_step"]["excerpt"]["value"] == 1
    assert found["characters"]["excerpt"] <= CONTEXT_BUDGET < found["characters"]["whole"]
    assert 0 < found["tokens"]["excerpt"] < found["tokens"]["whole"]


def test_plans_that_are_the_same_differ_in_nothing() -> None:
    found = compare_plans([(EXAMPLES[0], REFERENCE)], Decomposer(ScriptedModel(reply=lambda _: PLAN)))
    assert found["same"] == 1
    assert found["agreement"]["difference"]["value"] == 0
