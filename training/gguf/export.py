"""Stage 5: the student as GGUF — adapter, merged model, quantisations — published only if it says what was trained."""

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from langchain_divconq.llamacpp import weights
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import PROMPT_VERSION
from training.config import Config
from training.example import load_examples
from training.gguf.card import config_fingerprint, manifest, render_card
from training.gguf.comparison import compare
from training.gguf.merge import merge
from training.gguf.parity import Parity, enforce
from training.gguf.quantise import quantise, stored_types
from training.store import save_json, whole
from training.student.adapter import load_lora, write_adapter
from training.student.model import load_student, served_file
from training.student.targets import Target, target

ADAPTERS = Path(weights.__file__).parents[1] / "adapters"
MOST_BYTES = 20_000_000


def export(config: Config) -> None:
    """Write 5-gguf/: adapter, merged model, its quantisations, parity.json, card and manifest.

    Figures of a failed comparison stay in 5-gguf.partial/parity.json.

    Raises:
        ParityError: llama.cpp does not say what was trained; names the step that broke.
        ValueError: The adapter cannot be exported, or there is no GGUF to serve it with.
    """
    from peft import PeftModel

    folder = config.folder / "5-gguf.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = served_file(config)
    files = build(config, base, folder)
    model, tokenizer = load_student(config.finetune.student, config.folder, "float32")
    student = PeftModel.from_pretrained(model, trained_folder(config))
    parity = compare(student, tokenizer, held_out(config), base, files, config.finetune.role)
    save_json(folder / "parity.json", parity.as_json())
    enforce(parity)
    merged = files.keys() & config.export.ladder
    _describe(config, base, folder, {name: stored_types(files[name]) for name in files if name in merged})
    final = config.folder / "5-gguf"
    folder.rename(final)
    print(f"Exported to {final}; llama.cpp says what was trained.", flush=True)


def build(config: Config, base: Path, folder: Path) -> dict[str, Path]:
    """Write adapter, merged model and its quantisations; return artifact to file."""
    lora = load_lora(trained_folder(config), read_header(base))
    files = {"adapter": folder / "adapter.gguf", "F16": folder / "merged-F16.gguf"}
    provenance = {
        "role": config.finetune.role,
        "prompt_version": PROMPT_VERSION,
        "base.sha256": fingerprint(base),
        "config.sha256": config_fingerprint(config),
    }
    write_adapter(lora, files["adapter"], base, config.export.adapter_type, config.name, provenance)
    merge(base, lora, files["F16"], config.name)
    for kind in config.export.ladder:
        if kind not in files:
            files[kind] = folder / f"merged-{kind}.gguf"
            quantise(files["F16"], files[kind], kind)
    return files


def trained_folder(config: Config) -> Path:
    """Return where the adapter lies as training left it."""
    return config.folder / ("4-student" if config.prefer is None else "4-preferred")


def held_out(config: Config) -> list[Target]:
    """Return the held-out prompts to compare on, with their reference replies; which ones depends on the seed."""
    cap = config.demonstrate.max_subquestions
    examples = list(load_examples(config.folder / "3-validation.jsonl"))
    chosen = random.Random(config.seed).sample(examples, min(len(examples), config.export.parity_prompts))
    return [target(example, config.finetune.role, cap) for example in chosen]


def publish_adapter(config: Config, folder: Path = ADAPTERS) -> None:
    """Make a run's adapter the library's own for its base: copy it with card, manifest, parity and evaluation.

    Raises:
        ValueError: It is not exported, no decomposer, for none of the library's weights, or too large.
        ParityError: It failed the comparison, or fails it under today's limits.
    """
    exported, base = config.folder / "5-gguf", served_file(config)
    if not exported.exists():
        raise ValueError(f"There is no {exported}. Run it first: python -m training export CONFIG")
    adapter = exported / "adapter.gguf"
    enforce(TypeAdapter(Parity).validate_json((exported / "parity.json").read_bytes()))
    if not config.finetune.role.startswith("S_D"):
        raise ValueError(f"The run's role is {config.finetune.role}; the library's adapters are decomposers (S_D-…).")
    name = published_name(base)
    recorded = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))["files"]["adapter.gguf"]["sha256"]
    if fingerprint(adapter) != recorded:
        raise ValueError(f"{adapter} is not what was compared: its SHA-256 differs from the manifest's. Export again.")
    if (size := adapter.stat().st_size) >= MOST_BYTES:
        raise ValueError(
            f"{adapter} has {size:,} bytes; the library ships less than {MOST_BYTES:,}. Store it in fewer: "
            'export.adapter_type = "Q8_0", or lower finetune.rank.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    _copy(adapter, folder / f"{name}.gguf")
    _copy(exported / "parity.json", folder / f"{name}.parity.json")
    if (evaluation := config.folder / "6-evaluation.json").exists():
        _copy(evaluation, folder / f"{name}.evaluation.json")
    else:
        (folder / f"{name}.evaluation.json").unlink(missing_ok=True)  # another adapter's
    _describe(config, base, folder, {}, f"{name}.")
    print(f"Published in {folder}", flush=True)


def published_name(base: Path) -> str:
    """Return what the library calls the adapter for a base.

    Raises:
        ValueError: It is none of the library's weights.
    """
    names = {
        weights.DEFAULT_SHA256: "smollm2-135m-decomposer",
        weights.MEDIUM_SHA256: "qwen2.5-coder-0.5b-decomposer",
    }
    found = fingerprint(base)
    if found not in names:
        raise ValueError(
            f"The adapter is for {base.name} with SHA-256 {found}, and the library's weights are "
            f"{weights.DEFAULT_FILE} with {weights.DEFAULT_SHA256} and {weights.MEDIUM_FILE} with "
            f"{weights.MEDIUM_SHA256}. Train on one of "
            'those: finetune.student = "bundled" or "medium".'
        )
    return names[found]


def _describe(
    config: Config, base: Path, folder: Path, stored: Mapping[str, Mapping[str, int]], prefix: str = ""
) -> None:
    """Write card and manifest of what is in a folder, or of those files there whose names begin with the prefix."""
    training = json.loads((trained_folder(config) / "training.json").read_text(encoding="utf-8"))
    parity = json.loads((folder / f"{prefix}parity.json").read_text(encoding="utf-8"))
    evaluated = config.folder / "6-evaluation.json"
    evaluation = json.loads(evaluated.read_text(encoding="utf-8")) if evaluated.exists() else None
    card = render_card(config, base, training, parity, stored, evaluation)
    (folder / f"{prefix}{'md' if prefix else 'README.md'}").write_text(card, encoding="utf-8")
    files = [path for path in folder.iterdir() if path.name.startswith(prefix)]
    save_json(folder / f"{prefix}manifest.json", manifest(files, base, config))


def _copy(source: Path, path: Path) -> None:
    with whole(path) as temporary:
        shutil.copyfile(source, temporary)
