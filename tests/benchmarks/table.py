"""Tables of what `make bench`, `make stress` and the budgets gave; `python -m tests.outputs` writes them."""

import json
from typing import Any

from tests.benchmarks.engines import RESULTS
from tests.benchmarks.interval import shown

_ROWS = (
    ("latency", "cold_s", "first decomposition in a fresh process, seconds (one run)"),
    ("latency", "warm_p50_s", "a decomposition afterwards, seconds: median"),
    ("latency", "warm_p95_s", "… 95th percentile"),
    ("contexts", "excerpt_p50_s", "a decomposition of a question with a context of 1,000 tokens, seconds: median"),
    ("contexts", "ratio_to_whole", "… against a decomposer that reads all of the context"),
    ("overhead", "tokens_per_s", "tokens written a second, prompts included, without the adapter"),
    ("overhead", "ratio_to_llama_class", "time against `llama_cpp.Llama`: same prompt, grammar and tokens"),
    ("overhead", "ratio_to_server_object", "time against `xllamacpp.Server`: same prompt, grammar and tokens"),
    ("overhead", "ratio_to_forward_passes_alone", "time against the forward passes alone, no sampling, no grammar"),
    ("grammar", "ratio_to_none", "time a token with the plan's grammar against without"),
    ("community", "one_instruction_ratio", "time a token against langchain-community's `ChatLlamaCpp`"),
    ("community", "alternating_ratio", "… two callers with different instructions taking turns"),
    ("alternating", "ratio_to_unmixed", "two instructions taking turns, against one after the other"),
    (
        "overlap",
        "ratio_to_sequence_at_1",
        "a batch of 8 with a 0.5 s solver against a plain sequence, `max_concurrency` 1",
    ),
    ("overlap", "ratio_to_sequence_at_4", "… `max_concurrency` 4"),
    ("imports", "import_s", "import, seconds"),
    ("imports", "ratio_to_core_chat_models", "… against importing langchain-core's chat models alone"),
    ("memory", "loaded_mib", "memory for a loaded decomposer, MiB"),
    ("memory", "growth_from_call_40_mib", "… growth from the 40th to the 300th call, MiB"),
)


def render() -> str:
    """Return the tables as Markdown."""
    bench: dict[str, Any] = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
    stress: dict[str, Any] = json.loads((RESULTS / "stress.json").read_text(encoding="utf-8"))
    machine = bench["machine"]
    lines = [
        f"Measured by `make bench` on a machine of {machine['cores']} cores ({machine['processor']}), "
        f"{machine['threads']} of them for the model, Python {machine['python']}; estimates with 95% bootstrap "
        "intervals over n questions. Ratios compare times taken in turns in one run: below 1, ours is faster. "
        "Latency and memory are of the decomposer that ships; the ratios between engines of its model without "
        "the adapter, which writes longer.",
        "",
        "| | n | llama-cpp-python | xllamacpp |",
        "| --- | --- | --- | --- |",
    ]
    for section, key, words in _ROWS:
        row = bench.get(section)
        if not row:
            continue  # not measured yet
        figures = [row.get(engine, {}).get(key) for engine in ("llama-cpp-python", "xllamacpp")]
        cells = ["" if figure is None else shown(figure) for figure in figures]
        any_row = next(iter(row.values()))
        count = 1 if key == "cold_s" else any_row.get("n", any_row.get("calls"))
        lines.append(f"| {words} | {count} | {cells[0]} | {cells[1]} |")
    lines += ["", "What xllamacpp grows by is its store of prompt states, which is bounded at two full contexts."]
    engines = stress["engines"].values()
    plans = " and ".join(f"{result['distinct_plans']:,}" for result in engines)
    lines += [
        "",
        f"Of {stress['questions']:,} varied questions decomposed at temperature {stress['temperature']} "
        f"(`make stress`, half on each engine; {plans} different plans), {stress['failures']} gave a plan that does "
        "not parse, exceeds the cap or refers forward.",
    ]
    return "\n".join(lines) + "\n"


def render_budgets() -> str:
    """Return the table of shrinking budgets as Markdown."""
    record: dict[str, Any] = json.loads((RESULTS / "budgets.json").read_text(encoding="utf-8"))
    lines = [
        "| tokens allowed | used | solver calls | dollars | right | answered |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in record["rows"]:
        allowed = "any" if row["budget_tokens"] is None else f"{row['budget_tokens']:,}"
        modes = ", ".join(f"{count} {mode.replace('_', ' ')}" for mode, count in sorted(row["modes"].items()))
        lines.append(
            f"| {allowed} | {row['tokens']:,} | {row['solver_calls']} | {row['dollars']:.4f} | "
            f"{row['right']} of {row['questions']} | {modes} |"
        )
    return "\n".join(lines) + "\n"
