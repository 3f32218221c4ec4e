"""Ten questions of each evaluation source with both plans and the reference: to look at, not to be committed."""

from textwrap import indent, shorten

from langchain_divconq.plans import render_plan
from training.config import Config
from training.example import Example, choose, load_examples
from training.measure.evaluate import STYLES, plans_file, reference_plan
from training.measure.plans import Planned
from training.store import Records

EXAMPLES = 10
_CONTEXT = 300
"""A longer context is shortened."""


def show(config: Config) -> None:
    """Print them, chosen by the run's seed among what the evaluation measured.

    Raises:
        ValueError: The evaluation has not run.
    """
    if not (config.folder / "6-evaluation.json").exists():
        raise ValueError(f"{config.folder} has no evaluation yet. Run it first: python -m training evaluate CONFIG")
    limit = EXAMPLES if config.evaluate.limit is None else min(EXAMPLES, config.evaluate.limit)
    for source, examples in choose(load_examples(config.folder / "1-evaluation.jsonl"), limit, config.seed).items():
        print(f"\n=== {source} ===")
        written = {
            arm: Records(path, Planned).records for arm in STYLES if (path := plans_file(config, arm, source)).exists()
        }
        for example in examples:
            print(_heading(example))
            for arm, plans in written.items():
                print(f"{arm}:\n{indent(_plan(plans[example.id]), '    ')}")
            reference = reference_plan(example, config)
            print(f"reference:\n{indent('(none)' if reference is None else render_plan(reference), '    ')}")


def _heading(example: Example) -> str:
    context = "" if example.context is None else f"\n  {shorten(example.context, _CONTEXT)}"
    return f"\n{example.id}{context}\n  {example.question}"


def _plan(planned: Planned) -> str:
    """Return what the library makes of the reply and, where that differs, the reply."""
    if planned.no_plan is not None:
        return f"({planned.no_plan})"
    decomposition = planned.decomposition
    kept = render_plan(decomposition.subquestions)
    if kept == decomposition.text:
        return kept
    return f"{kept}\n({decomposition.reason}; as written:\n{indent(decomposition.text, '  ')})"
