"""Stage 6: what the student's plans are worth beside the untuned model's, on questions nobody trained on.

What the models write is kept in the run's folder (6-plans/, one durable record a question, so a killed run goes on).
6-verdicts.jsonl and 6-evaluation.json hold identifiers and numbers alone.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import PROMPT_VERSION, PromptStyle
from training.config import Config
from training.data.plans import Unusable, read_plan, recorded_plan
from training.example import Example, choose, load_examples
from training.measure.intervals import Interval, difference, ratio
from training.measure.plan_metrics import METRICS, Plan, PlanVerdict, judge
from training.measure.plans import Planned, write_plans
from training.store import save_json, save_text
from training.student.model import served_file

Arm: TypeAlias = Literal["ours", "untuned"]

ALL = "all"
"""The name under which the questions of all sources are measured together."""

STYLES: dict[Arm, PromptStyle] = {"ours": "student", "untuned": "one_shot"}
GATE = 0.5
"""A question is left whole from this probability on that nothing need be divided: where neither is the likelier. The
library's default is higher, since a question left whole wrongly costs more than one divided wrongly."""


def evaluate(config: Config) -> None:
    """Divide the evaluation questions with ours and the untuned model; leave verdicts and metrics.

    A solver's student writes no plans: it is measured by the answers it leads to, not here.

    Raises:
        ValueError: There is nothing to evaluate on, or no GGUF to serve the student with.
    """
    result: dict[str, Any] = {"role": config.finetune.role, "metrics": {}}
    if not config.finetune.role.startswith("S_D"):
        print("A solver is measured by its answers, not by plans: there is nothing to evaluate here.", flush=True)
        save_json(config.folder / "6-evaluation.json", result)
        return
    examples = choose(load_examples(config.folder / "1-evaluation.jsonl"), config.evaluate.limit, config.seed)
    if not examples:
        raise ValueError(
            f"{config.folder / '1-evaluation.jsonl'} holds no questions. Name sources under load.evaluate, delete the "
            "run's folder, and run again."
        )
    settings = {
        "weights": {name: fingerprint(path) for name, path in _weights(config).items()},
        "prompt_version": PROMPT_VERSION,
        "max_subquestions": config.evaluate.max_subquestions,
    }
    verdicts: dict[Arm, list[PlanVerdict]] = {}
    for arm, model in _models(config).items():
        most = config.evaluate.untuned_limit if arm == "untuned" else None
        chosen = {source: drawn[:most] for source, drawn in examples.items()}
        verdicts[arm] = _measure(config, arm, model, chosen, settings)
    result |= {
        **settings,
        "seed": config.seed,
        "questions": {source: len(chosen) for source, chosen in examples.items()},
        "metrics": compare(verdicts),
    }
    lines = (
        json.dumps({"arm": arm, **one.model_dump(mode="json", exclude_defaults=True)})
        for arm, judged in verdicts.items()
        for one in judged
    )
    save_text(config.folder / "6-verdicts.jsonl", "".join(f"{line}\n" for line in lines))
    save_json(config.folder / "6-evaluation.json", result)


def _measure(
    config: Config, arm: Arm, model: ChatGGUF, examples: dict[str, list[Example]], settings: dict[str, Any]
) -> list[PlanVerdict]:
    decomposer = Decomposer(
        model=model,
        max_subquestions=config.evaluate.max_subquestions,
        prompt_style=STYLES[arm],
        gate=GATE,
        num_beams=1,  # beside what the same model writes unheld, a token at a time
    )
    verdicts = []
    for source, chosen in examples.items():
        path, title = plans_file(config, arm, source), f"{arm}, {source}"
        plans = write_plans(chosen, decomposer, path, settings, title=title, free=True)
        verdicts += [verdict(one, plans[one.id], reference_plan(one, config)) for one in chosen]
    return verdicts


def verdict(example: Example, planned: Planned, reference: Plan | None) -> PlanVerdict:
    """Return what a plan shows, in numbers."""
    decomposition = planned.decomposition
    known: dict[str, Any] = {"parses": False, "error": planned.no_plan}
    if planned.no_plan is None:
        known = {
            "parses": planned.ended and read_plan(planned.free or "") is not None,
            "probability": decomposition.no_decomposition_probability,
            "tokens": decomposition.usage.output_tokens,
            "seconds": round(decomposition.usage.seconds, 3),
        }
    known |= judge(example.question, read_plan(decomposition.text) or (), decomposition.subquestions, reference)
    return PlanVerdict(id=example.id, source=example.source, **known)


def reference_plan(example: Example, config: Config) -> tuple[str, ...] | None:
    """Return the plan the dataset records, made as the training plans are; None: there is no usable one."""
    try:
        return recorded_plan(example, config.evaluate.max_subquestions, config.demonstrate.long_plans)
    except Unusable:
        return None


def compare(verdicts: dict[Arm, list[PlanVerdict]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return source → metric → {"ours", "untuned", "difference"}, each an estimate; what is undefined is left out.

    The difference is over the questions that both were asked.
    """
    asked = {one.id for one in verdicts.get("untuned", ())}
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for source in [*sorted({one.source for one in verdicts["ours"]}), ALL]:
        of_source = {arm: [one for one in found if source in (one.source, ALL)] for arm, found in verdicts.items()}
        table[source] = {}
        for name, metric in METRICS.items():
            shares = {arm: [metric.share(one) for one in found] for arm, found in of_source.items()}
            figures: dict[str, Interval | None] = {arm: ratio(found) for arm, found in shares.items()}
            if "untuned" in shares:
                both = [metric.share(one) for one in of_source["ours"] if one.id in asked]
                figures["difference"] = difference(both, shares["untuned"])
            if any(figures.values()):
                table[source][name] = {key: asdict(one) for key, one in figures.items() if one is not None}
    return table


def plans_file(config: Config, arm: Arm, source: str) -> Path:
    """Return where an arm's plans for a source lie."""
    return config.folder / "6-plans" / arm / f"{source}.jsonl"


def _weights(config: Config) -> dict[str, Path]:
    return {"base": served_file(config), "adapter": config.folder / "5-gguf" / "adapter.gguf"}


def _models(config: Config) -> dict[Arm, ChatGGUF]:
    weights = _weights(config)
    models: dict[Arm, ChatGGUF] = {"ours": ChatGGUF(model_path=weights["base"], adapter_path=weights["adapter"])}
    if config.evaluate.untuned_limit != 0:
        models["untuned"] = ChatGGUF(model_path=weights["base"])
    return models
