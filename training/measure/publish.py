"""An evaluation as it may be committed: identifiers and numbers, and a table of them. No text of any benchmark."""

import json
from pathlib import Path
from typing import Any

from training.config import ROOT, Config
from training.measure.evaluate import ALL
from training.measure.plan_metrics import METRICS, PlanVerdict
from training.store import save_json, save_text

RESULTS = ROOT / "training" / "results"


def publish(config: Config, results: Path = RESULTS) -> None:
    """Write decompositions.jsonl, metrics.json and metrics.md to results/NAME/.

    Raises:
        ValueError: The evaluation has not run, or what it left holds more than verdicts.
    """
    verdicts, metrics = config.folder / "6-verdicts.jsonl", config.folder / "6-evaluation.json"
    for path in (verdicts, metrics):
        if not path.exists():
            raise ValueError(f"There is no {path}. Run it first: python -m training evaluate CONFIG")
    lines = verdicts.read_text(encoding="utf-8").splitlines()
    for line in lines:
        record = json.loads(line)
        record.pop("arm")
        PlanVerdict.model_validate(record)  # refuses what is no field of it: a question or a plan does not slip through
    evaluation = json.loads(metrics.read_text(encoding="utf-8"))
    folder = results / config.name
    save_text(folder / "decompositions.jsonl", "".join(f"{line}\n" for line in lines))
    save_json(folder / "metrics.json", evaluation)
    save_text(folder / "metrics.md", render(config.name, evaluation))
    print(f"Published in {folder}", flush=True)


def render(name: str, evaluation: dict[str, Any]) -> str:
    """Return the metrics as Markdown: a table for each source, ours and the untuned model side by side."""
    adapter = evaluation["weights"]["adapter"][:12]
    lines = [
        f"# Plans of `{name}`",
        "",
        f"Adapter {adapter}…, prompts of version {evaluation['prompt_version']}, at most "
        f"{evaluation['max_subquestions']} subquestions. Ours is asked in one line, as it was trained; untuned is the "
        "same model without the adapter, with instructions and one demonstration. Both decode greedily. Brackets hold "
        "95% intervals by bootstrap over questions, n is the number of questions that bear on a figure (ours / untuned "
        "where they differ), and the difference is paired.",
    ]
    for source, metrics in evaluation["metrics"].items():
        count = sum(evaluation["questions"].values()) if source == ALL else evaluation["questions"][source]
        lines += ["", f"## {source}: {count} questions", "", "| | n | ours | untuned | difference |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for key, found in metrics.items():
            cells = [
                _cell(found.get(column), signed=column == "difference") for column in ("ours", "untuned", "difference")
            ]
            counts = dict.fromkeys(found[arm]["n"] for arm in ("ours", "untuned") if arm in found)
            lines.append(f"| {METRICS[key].title} | {' / '.join(map(str, counts))} | {' | '.join(cells)} |")
    lines += ["", "## What is measured", ""]
    lines += [f"- **{metric.title}**: {metric.definition}." for metric in METRICS.values()]
    return "\n".join(lines) + "\n"


def _cell(estimate: dict[str, float] | None, *, signed: bool) -> str:
    if estimate is None:
        return ""
    value, low, high = (f"{estimate[key]:{'+' if signed else ''}.2f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
