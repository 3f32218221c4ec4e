"""Training throughput beside TRL's SFTTrainer: `python -m tests.benchmarks.training`.

Both train the same student (the bundled GGUF, dequantised) with the same adapter on the same examples, in batches of
the same mean size, in turn: each round trains with one and then with the other. Counted are real tokens, padding left
out, over the steps after the first. SFTTrainer runs as it comes, but for what would slow it down: no gradient
checkpointing, no logging. Needs the training dependencies and TRL (`pip install --group bench`).
"""

import argparse
import gc
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.interval import rate_ratio
from training.config import ROOT, Config, Finetune, load_toml
from training.example import load_examples
from training.student.batches import batched, collate, completion_tokens
from training.student.finetune import add_lora, completion_loss, encode
from training.student.model import load_student
from training.student.targets import Target, target


def ours(targets: Sequence[Target], options: Finetune, folder: Path, size: int) -> list[tuple[int, float]]:
    """Return the tokens and seconds of each step."""
    import torch

    model, tokenizer = load_student(options.student, folder, options.dtype)
    student = add_lora(model, options)
    loss_of = completion_loss(student)
    sequences = [encode(one, tokenizer) for one in targets]
    mean = sum(len(one.ids) for one in sequences) / len(sequences)
    optimiser = torch.optim.AdamW([w for w in student.parameters() if w.requires_grad], lr=options.learning_rate)
    steps = []
    for batch in batched(sequences, round(size * mean), seed=0):
        started = time.perf_counter()
        ids, labels = collate(batch, tokenizer.eos_token_id)
        (loss_of(ids, labels) / completion_tokens(batch)).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        steps.append((sum(len(one.ids) for one in batch), time.perf_counter() - started))
    return steps[1:]


def trl(targets: Sequence[Target], options: Finetune, folder: Path, size: int) -> list[tuple[int, float]]:
    """Return the tokens and seconds of each step of SFTTrainer."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTTrainer

    model, tokenizer = load_student(options.student, folder, options.dtype)
    student = add_lora(model, options)
    sequences = {one.id: encode(one, tokenizer) for one in targets}
    rows = [
        {
            "input_ids": list(one.ids),
            "completion_mask": [0] * one.prompt + [1] * (len(one.ids) - one.prompt),
        }
        for one in sequences.values()
    ]
    clock: list[tuple[int, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.append((counted.pop(0), time.perf_counter() - self.started))

    counted: list[int] = []

    class Counting(SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            counted.append(int(inputs["attention_mask"].sum()))
            return super().training_step(model, inputs, *args, **kwargs)

    trainer = Counting(
        model=student,
        args=_settings(options, folder, size),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    trainer.train()
    return clock[1:]


def _settings(options: Finetune, folder: Path, size: int) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=size,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        completion_only_loss=True,
        bf16=False,  # the weights are loaded in their type; no autocast on top
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _rate(steps: Sequence[tuple[int, float]]) -> float:
    return sum(tokens for tokens, _ in steps) / sum(seconds for _, seconds in steps)


def main() -> None:
    """Print and save tokens a second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "training/configs/small.toml")
    parser.add_argument("--examples", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "tests/benchmarks/results/training.json")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    config = load_toml(arguments.config, Config)
    path = config.folder / "3-screened.jsonl"
    if not path.is_file():
        parser.error(f"{path} is missing; run `python -m training screen {arguments.config}` first.")
    examples = [one for _, one in zip(range(arguments.examples), load_examples(path), strict=False)]
    cap = config.demonstrate.max_subquestions
    targets = [target(example, config.finetune.role, cap) for example in examples]
    steps: dict[str, list[tuple[int, float]]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            for name, train in (("ours", ours), ("trl", trl)):
                steps[name] += train(targets, config.finetune, Path(folder), arguments.batch)
                gc.collect()
                print(f"round {turn + 1}, {name}: {_rate(steps[name]):.0f} tokens/s", flush=True)
    result = {
        "examples": len(targets),
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "dtype": config.finetune.dtype,
        "tokens_per_second": {name: round(_rate(timed), 1) for name, timed in steps.items()},
        "ratio": [round(value, 2) for value in rate_ratio(steps["ours"], steps["trl"])],
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
