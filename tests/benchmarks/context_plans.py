"""Are plans as good when a decomposer is shown an excerpt of a long context? On DROP's dev questions that QDMR divides:

python -m tests.benchmarks.context_plans [--questions 40] [--decomposer small]
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict

from langchain_divconq import Decomposer
from langchain_divconq.errors import DecompositionError
from langchain_divconq.excerpts import CONTEXT_BUDGET, excerpt
from langchain_divconq.types import Decomposition, Question
from tests.benchmarks.contexts import whole_contexts
from tests.benchmarks.engines import RESULTS, Row
from training.config import Source
from training.data.plans import Unusable, recorded_plan
from training.data.sources import read_source
from training.example import Example
from training.measure.intervals import Share, difference, ratio
from training.measure.plan_metrics import METRICS, PlanVerdict, judge

_MEASURED = ("agreement", "edge_precision", "edge_recall", "undivided_multi_step", "subquestions")


def divided_passages() -> Iterator[tuple[Example, tuple[str, ...]]]:
    """Yield DROP's dev questions on passages beyond the budget, with QDMR's plans; those asked of one passage alone."""
    asked: dict[str, list[Example]] = {}
    for example in read_source(Source(name="drop", split="dev")):
        asked.setdefault(_words(example), []).append(example)
    for divided in read_source(Source(name="drop_qdmr", split="dev")):
        on = asked.get(_words(divided), [])
        if len(on) != 1 or len(on[0].context or "") <= CONTEXT_BUDGET:
            continue
        try:
            yield on[0], recorded_plan(divided, 3, "first")
        except Unusable:
            continue


def compare_plans(examples: Sequence[tuple[Example, tuple[str, ...]]], decomposer: Decomposer) -> Row:
    """Return metric → {"whole", "excerpt", "difference"}, each an estimate.

    Beside them: how many plans are the same ("same"), how many characters a context has as it is shown ("characters"),
    and how many tokens the model read for a question ("tokens"), both on average.
    """
    verdicts: dict[str, list[PlanVerdict]] = {"whole": [], "excerpt": []}
    plans: dict[str, list[tuple[str, ...]]] = {"whole": [], "excerpt": []}
    tokens = {"whole": 0, "excerpt": 0}
    for example, reference in examples:
        for way, shown in (("whole", whole_contexts()), ("excerpt", nullcontext())):
            with shown:
                decomposition = _decomposition(decomposer, example)
            plan = decomposition.subquestions
            judged = judge(example.question, plan, plan, reference)
            known = {"id": example.id, "source": example.source, "parses": True}
            tokens[way] += decomposition.usage.input_tokens
            verdicts[way].append(PlanVerdict.model_validate({**known, **judged}))
            plans[way].append(plan)
    count, texts = len(examples), [example.asked for example, _ in examples]
    shown_as = {"whole": [one.context or "" for one in texts], "excerpt": [_excerpt(one) for one in texts]}
    result: Row = {
        "n": count,
        "same": sum(map(tuple.__eq__, *plans.values())),
        "characters": {way: sum(map(len, one)) / count for way, one in shown_as.items()},
        "tokens": {way: total / count for way, total in tokens.items()},
    }
    for name in _MEASURED:
        shares: dict[str, list[Share]] = {
            way: [METRICS[name].share(one) for one in judged] for way, judged in verdicts.items()
        }
        estimates = {way: ratio(one) for way, one in shares.items()}
        estimates["difference"] = difference(shares["excerpt"], shares["whole"])
        result[name] = {way: asdict(one) for way, one in estimates.items() if one is not None}
    return result


def _decomposition(decomposer: Decomposer, example: Example) -> Decomposition:
    try:
        return decomposer.invoke(example.asked)
    except DecompositionError:  # another model's; it counts as undivided
        return Decomposition(question=example.asked)


def _excerpt(question: Question) -> str:
    return excerpt(question.context or "", question.text)


def _words(example: Example) -> str:
    return " ".join(example.question.casefold().split())


def main() -> None:
    """Print the comparison of plans, and keep it beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=40, metavar="N", help="the first N (40)")
    parser.add_argument("--decomposer", default="small", help="small (the default) or medium")
    arguments = parser.parse_args()
    examples = list(divided_passages())[: arguments.questions]
    file = RESULTS / "context_plans.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results[arguments.decomposer] = result = compare_plans(examples, Decomposer(arguments.decomposer))
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"{result['n']} questions, the same plan for {result['same']}")
    for name in ("characters", "tokens"):
        print(f"{name} a question, on average: {', '.join(f'{way} {one:.0f}' for way, one in result[name].items())}")
    for name in _MEASURED:
        cells = (f"{way} {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for way, one in result[name].items())
        print(f"{METRICS[name].title}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
