"""The model card, for people, and the manifest, for checks, that lie beside the weights. Text of our own."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import PROMPT_VERSION
from training.config import Config
from training.gguf.comparison import LEAD
from training.measure.evaluate import ALL
from training.measure.plan_metrics import METRICS
from training.measure.report.markdown import render_table


class Dataset(NamedTuple):
    """Where a source comes from, and under which licence."""

    title: str
    licence: str
    url: str


_GSM8K = Dataset("GSM8K", "MIT", "https://github.com/openai/grade-school-math")
_MUSIQUE = Dataset("MuSiQue", "CC BY 4.0", "https://github.com/StonyBrookNLP/musique")
DATASETS = {
    "gsm8k": _GSM8K,
    "gsm8k_chatgpt": _GSM8K._replace(title="GSM8K, divided by GPT-3.5", licence="MIT; OpenAI output"),
    "drop": Dataset("DROP", "CC BY-SA 4.0", "https://allenai.org/data/drop"),
    "drop_qdmr": Dataset("Break (QDMR) on DROP", "MIT; DROP CC BY-SA 4.0", "https://github.com/allenai/Break"),
    "bamboogle": Dataset("Bamboogle", "MIT", "https://github.com/ofirpress/self-ask"),
    "strategyqa": Dataset("StrategyQA", "MIT", "https://github.com/eladsegal/strategyqa"),
    "musique": _MUSIQUE,
    "musique_silver": _MUSIQUE._replace(title="MuSiQue, plans joined from its hops"),
    "musique_composed": _MUSIQUE._replace(title="MuSiQue, chains composed from its hops"),
    "wiki2": Dataset("2WikiMultihopQA", "Apache-2.0", "https://github.com/Alab-NII/2wikimultihop"),
    "hotpotqa": Dataset("HotpotQA", "CC BY-SA 4.0", "https://hotpotqa.github.io"),
    "everyday": Dataset("everyday questions, written for this project", "MIT", ""),
    "everyday_more": Dataset("more of them, of the same kind", "MIT", ""),
    "everyday_third": Dataset("and more, of the kinds that were weakest", "MIT", ""),
    "everyday_held_out": Dataset("more of them, from which nothing learns", "MIT", ""),
    "everyday_languages": Dataset("the same in other languages, left whole", "MIT", ""),
    "arithmetic": Dataset("problems from templates of this project", "MIT", ""),
    "least_to_most": Dataset("Least-to-most outputs of GPT-4 and GPT-3.5", "MIT; OpenAI output", ""),
}
"""By source. One that reads the same rows in another way ("_socratic", "_one_step") is found under the plain name."""

_SHOWN = ("parse_rate", "repeats_or_copies", "undivided_one_step", "uses_references_recall", "agreement")
_DECOMPOSER = (
    "It splits a question into at most {cap} simpler subquestions, or says that one step is enough. "
    "`langchain-divconq` runs it with llama.cpp, held to a grammar, and lets another model answer."
)
_SOLVER = "It answers a question by way of subquestions that a decomposer wrote."
_LIMITS = """It is small: it splits by form, and a plan that reads well may miss the point. It divides English alone
and has learned to leave other languages whole. A subquestion may ask for what nobody knows. Check what a plan leads to
before anything depends on it. The model answers nothing itself, and it is not meant to chat."""


def render_card(
    config: Config,
    base: Path,
    training: Mapping[str, Any],
    parity: Mapping[str, Any],
    stored: Mapping[str, Mapping[str, int]],
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return the model card as Markdown.

    `training`, `parity` and `evaluation` are what the run's JSON files hold, `stored` how many matrices of each
    quantisation are stored in each type.
    """
    header = read_header(base)
    what = _DECOMPOSER if config.finetune.role.startswith("S_D") else _SOLVER
    sections = [
        _front(header.text("general.license"), header.name),
        f"# {config.name}\n\nA LoRA adapter (role {config.finetune.role}) for {header.name}, as GGUF. "
        f"{what.format(cap=config.demonstrate.max_subquestions)}",
        f"Base: `{base.name}`, SHA-256 `{fingerprint(base)}`. Prompts of version {PROMPT_VERSION}, in "
        "`langchain_divconq/prompts.py`; asked otherwise, it does not do what it was trained for.",
        "## Training data\n\n" + _data(config),
        "## Training\n\n" + _training(training),
        "## Parity\n\n" + _parity(parity, stored),
    ]
    if evaluation and evaluation.get("metrics"):
        sections.append("## Evaluation\n\n" + _evaluation(evaluation, config.evaluate.max_subquestions))
    sections.append(f"## Limits\n\n{_LIMITS}")
    return "\n\n".join(sections) + "\n"


def manifest(files: Iterable[Path], base: Path, config: Config) -> dict[str, Any]:
    """Return what identifies files and what they were made from, by checksum; a manifest among them is left out."""
    files = sorted(path for path in files if not path.name.endswith("manifest.json"))
    return {
        "name": config.name,
        "role": config.finetune.role,
        "prompt_version": PROMPT_VERSION,
        "max_subquestions": config.demonstrate.max_subquestions,
        "config": config_fingerprint(config),
        "base": {"name": read_header(base).name, "file": base.name, "sha256": fingerprint(base)},
        "files": {path.name: {"sha256": fingerprint(path), "bytes": path.stat().st_size} for path in files},
    }


def config_fingerprint(config: Config) -> str:
    """Return a SHA-256 of all settings but the place of the run's folder: equal recipes have equal ones."""
    settings = config.model_dump(mode="json", exclude={"output"})
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _front(licence: str, base: str) -> str:
    lines = ["---", "library_name: llama.cpp", "language: en", f"base_model: {json.dumps(base)}"]
    lines += [f"license: {licence}"] if licence else []
    return "\n".join([*lines, "tags: [question-decomposition, lora, gguf]", "---"])


def _data(config: Config) -> str:
    rows = []
    for source in config.load.train:
        known = DATASETS.get(source.name.removesuffix("_one_step").removesuffix("_socratic"))
        count = f"at most {source.limit:,}" if source.limit else "all"
        where = (f"[{known.title}]({known.url})" if known.url else known.title) if known else "a file of one's own"
        rows.append([source.name, count, where, known.licence if known else "its own"])
    table = render_table(["source", "rows", "dataset", "licence"], rows)
    return (
        "Train splits alone, checked for leaks from the evaluation sets. Demonstrations: "
        f"{config.demonstrate.teacher}; plans beyond {config.demonstrate.max_subquestions} subquestions: "
        f"{config.demonstrate.long_plans}.\n\n" + "\n".join(table[:-1])
    )


def _training(training: Mapping[str, Any]) -> str:
    figures = {name: value for name, value in training.items() if name != "settings"}
    rows = {**training["settings"], **figures}.items()
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_figure(value)} |" for name, value in rows)])


def _parity(parity: Mapping[str, Any], stored: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for one in parity["artifacts"]:
        limit = parity["limits"][one["name"]]
        kl, token = f"{one['kl']:.5f} [{limit['kl']}]", f"{one['same_token']:.1%} [{limit['same_token']:.0%}]"
        shares = [_share(one["same_reply"]), _share(one["parse_rate"])]
        rows.append([one["name"], kl, f"{one['kl_first']:.5f}", token, *shares])
    header = ["artifact", "mean KL", "KL, first token", "same likeliest token", "same greedy reply", "parse rate"]
    lines = [
        f"{parity['prompts']} held-out prompts, {parity['places']} places of their reference replies, against the "
        "trained model in Hugging Face at 32 bits. The token ids of all prompts are equal. KL in nats, limits in "
        "brackets; the likeliest token is compared where it leads by "
        f"{LEAD} nats. Of the trained model's own replies {parity['parse_rate']:.0%} can be read, held to no grammar.",
        "",
        *render_table(header, rows),
        "`base` is the untrained student beside the untrained GGUF: what llama.cpp's arithmetic alone costs.",
    ]
    if stored:
        lines += ["", "Matrices as llama.cpp stores them; where a row is no multiple of 256, K-quants fall back:", ""]
        lines += [
            f"- {name}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
            for name, kinds in stored.items()
        ]
    return "\n".join(lines)


def _evaluation(evaluation: Mapping[str, Any], cap: int) -> str:
    shown = [name for name in _SHOWN if any(name in metrics for metrics in evaluation["metrics"].values())]
    asked = {ALL: sum(evaluation["questions"].values()), **evaluation["questions"]}
    rows = [
        [source, str(asked[source]), *(_arms(metrics.get(name)) for name in shown)]
        for source, metrics in evaluation["metrics"].items()
    ]
    lines = [
        "Ours / the untuned model, which is asked with instructions and a demonstration; "
        f"both held to {cap} subquestions.",
        "",
        *render_table(["source", "questions", *(METRICS[name].title for name in shown)], rows),
        *(f"- {METRICS[name].title}: {METRICS[name].definition}." for name in shown),
    ]
    return "\n".join(lines)


def _arms(estimates: Mapping[str, Any] | None) -> str:
    if estimates is None:
        return ""
    return " / ".join(f"{estimates[arm]['value']:.2f}" for arm in ("ours", "untuned") if arm in estimates)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
