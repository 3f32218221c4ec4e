"""Stage 6: what the student's plans are worth beside the untuned model's, on questions nobody trained on.

What the models write is kept in the run's folder (6-plans/, one durable record a question, so a killed run goes on).
6-verdicts.jsonl and 6-evaluation.json hold identifiers and numbers alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_divconq import ChatGGUF, Decomposer
from langchain_divconq.cli.jsonl import Item, RecordFile
from langchain_divconq.engines.identity import fingerprint
from langchain_divconq.errors import ContextLengthError, DecompositionError
from langchain_divconq.parsing import parse_plan
from langchain_divconq.prompts import PROMPT_VERSION, PromptStyle, decomposition_prompt
from langchain_divconq.types import Decomposition
from training.config import Config
from training.estimates import Estimate, difference, estimate
from training.example import Example, load_examples
from training.plan_metrics import METRICS, Plan, Verdict, judge
from training.plans import Unusable, recorded_plan
from training.student import served_file

Arm: TypeAlias = Literal["ours", "untuned"]
Plans: TypeAlias = dict[str, dict[str, Any]]
"""Records of 6-plans/, by the example's id."""

ALL = "all"
"""The name under which the questions of all sources are measured together."""

STYLES: dict[Arm, PromptStyle] = {"ours": "student", "untuned": "one_shot"}
GATE = 0.5
"""A question is left whole from this probability on that nothing need be divided: where neither is the likelier. The
library's default is higher, since a question left whole wrongly costs more than one divided wrongly."""

_FREE_TOKENS = 128
"""Most tokens of a reply that is held to no grammar; one that is longer ends nowhere."""


def evaluate(config: Config) -> None:
    """Divide the evaluation questions with ours and the untuned model; leave verdicts and metrics.

    A solver's student writes no plans: it is measured by the answers it leads to, not here.

    Raises:
        ValueError: There is nothing to evaluate on, or no GGUF to serve the student with.
    """
    result: dict[str, Any] = {"role": config.finetune.role, "metrics": {}}
    if not config.finetune.role.startswith("S_D"):
        print("A solver is measured by its answers, not by plans: there is nothing to evaluate here.", flush=True)
        _save(config.folder / "6-evaluation.json", json.dumps(result, indent=1) + "\n")
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
    _check_plans(config.folder / "6-plans", settings)
    verdicts: dict[Arm, list[Verdict]] = {}
    for arm, model in _models(config).items():
        decomposer = Decomposer(
            model=model, max_subquestions=config.evaluate.max_subquestions, prompt_style=STYLES[arm], gate=GATE
        )
        verdicts[arm] = []
        most = config.evaluate.untuned_limit if arm == "untuned" else None
        for source, drawn in examples.items():
            chosen = drawn[:most]
            path = plans_file(config, arm, source)
            write_plans(chosen, decomposer, path, f"{arm}, {source}")
            plans = load_plans(path)
            verdicts[arm] += [verdict(one, plans[one.id], reference_plan(one, config)) for one in chosen]
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
    _save(config.folder / "6-verdicts.jsonl", "".join(f"{line}\n" for line in lines))
    _save(config.folder / "6-evaluation.json", json.dumps(result, indent=1) + "\n")


def choose(examples: Iterable[Example], limit: int | None, seed: int) -> dict[str, list[Example]]:
    """Return at most `limit` examples of each source; which ones depends on the seed and their ids alone."""
    by_source: dict[str, list[Example]] = {}
    for example in examples:
        by_source.setdefault(example.source, []).append(example)

    def lot(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}/{example.id}".encode()).digest()

    return {source: sorted(found, key=lot)[:limit] for source, found in sorted(by_source.items())}


def write_plans(examples: Sequence[Example], decomposer: Decomposer, path: Path, title: str) -> None:
    """Divide each example that the file at `path` has no record of, and add one.

    Args:
        examples: What to divide.
        decomposer: With its model; held to the grammar, as the library is used.
        path: One record a question: the library's decomposition, and the reply the model gives when held to no grammar.
        title: Stands beside the progress bar.
    """
    from tqdm import tqdm

    path.parent.mkdir(parents=True, exist_ok=True)
    with RecordFile(path, "decomposition") as file:
        left = [item for example in examples if not file.is_finished(item := _item(example))]
        # Where nobody watches, a line now and then instead of a bar that moves.
        interval = 0.1 if sys.stderr.isatty() else 60
        with tqdm(left, desc=title, unit="question", mininterval=interval, file=sys.stderr) as progress:
            for item in progress:
                file.add(_divide(item, decomposer))


def _divide(item: Item, decomposer: Decomposer) -> dict[str, Any]:
    asked = item.question.model_dump(mode="json")
    prompt = decomposition_prompt(item.question, decomposer.max_subquestions, decomposer.prompt_style or "one_shot")
    try:
        decomposition = decomposer.invoke(item.question)
        free = decomposer.model.invoke(prompt, max_tokens=_FREE_TOKENS)
    except (DecompositionError, ContextLengthError) as error:
        # No plan comes of this question however often it is asked, so this is a result as well.
        return item.record(decomposition={"question": asked}, failed=type(error).__name__)
    ended = free.response_metadata.get("finish_reason") != "length"
    return item.record(decomposition=decomposition.model_dump(mode="json"), free=free.text, ended=ended)


def load_plans(path: Path) -> Plans:
    """Return the records of a file of plans, by the example's id."""
    with path.open("rb") as lines:  # a plan may hold what else would count as the end of a line
        return {record["id"]: record for record in map(json.loads, lines)}


def verdict(example: Example, record: dict[str, Any], reference: Plan | None) -> Verdict:
    """Return what a record of 6-plans/ shows, in numbers."""
    known = {"id": example.id, "source": example.source}
    if "failed" in record:
        judged = judge(example.question, (), (), reference)
        return Verdict.model_validate({**known, **judged, "parses": False, "error": record["failed"]})
    decomposition = Decomposition.model_validate(record["decomposition"])
    written = _parsed(decomposition.text) or ()
    return Verdict.model_validate(
        {
            **known,
            **judge(example.question, written, decomposition.subquestions, reference),
            "parses": record["ended"] and _parsed(record["free"]) is not None,
            "probability": decomposition.no_decomposition_probability,
            "tokens": decomposition.usage.output_tokens,
            "seconds": round(decomposition.usage.seconds, 3),
        }
    )


def reference_plan(example: Example, config: Config) -> tuple[str, ...] | None:
    """Return the plan the dataset records, made as the training plans are; None: there is no usable one."""
    try:
        return recorded_plan(example, config.evaluate.max_subquestions, config.demonstrate.long_plans)
    except Unusable:
        return None


def compare(verdicts: dict[Arm, list[Verdict]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return source → metric → {"ours", "untuned", "difference"}, each an estimate; what is undefined is left out.

    The difference is over the questions that both were asked.
    """
    sources = sorted({one.source for one in verdicts["ours"]})
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for source in [*sources, ALL]:
        shares = {
            name: {
                arm: [metric.share(one) for one in judged if source in (one.source, ALL)]
                for arm, judged in verdicts.items()
            }
            for name, metric in METRICS.items()
        }
        table[source] = {}
        for name, by_arm in shares.items():
            found: dict[str, Estimate | None] = {arm: estimate(one) for arm, one in by_arm.items()}
            if "untuned" in by_arm:
                asked = {one.id for one in verdicts["untuned"]}
                both = [
                    METRICS[name].share(one)
                    for one in verdicts["ours"]
                    if source in (one.source, ALL) and one.id in asked
                ]
                found["difference"] = difference(both, by_arm["untuned"])
            if any(found.values()):
                table[source][name] = {key: asdict(one) for key, one in found.items() if one is not None}
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


def _check_plans(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with plans that other weights wrote, or that were asked for otherwise."""
    path = folder / "settings.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != settings:
            raise ValueError(
                f"The plans in {folder} were written under other settings: {before}, now {settings}. "
                "Delete that folder and run the stage again."
            )
    folder.mkdir(exist_ok=True)
    _save(path, json.dumps(settings) + "\n")


def _item(example: Example) -> Item:
    return Item(("id", example.id), example.asked)


def _parsed(text: str) -> tuple[str, ...] | None:
    try:
        return parse_plan(text)
    except DecompositionError:
        return None


def _save(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
