"""The files of a fine-tuning run: metrics as it goes, checkpoints, and at the end the adapter."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import PROMPT_VERSION
from training.config import Config
from training.store import changes, refuse_changes, save_json, save_text, whole

_CHECKPOINT = "checkpoint.pt"
_METRICS = "metrics.jsonl"


class TrainingLog:
    """The folder of a fine-tuning run; it gets its final name when the run is complete.

    Args:
        folder: `.../4-student.partial`.
        config: Of the run.
        steps: How many steps of the optimiser there are in all.
        data: The checksum of the training examples.
        start: The adapter that the student goes on from; None: a fresh one.
    """

    def __init__(self, folder: Path, config: Config, steps: int, data: str, start: Path | None = None) -> None:
        self.folder = folder
        self.data = data
        self.start = None if start is None else fingerprint(start)
        self.config = config
        self.steps = steps
        self.records: list[dict[str, Any]] = []

    def resume(self, student: Any, optimiser: Any, *, writes: bool = True) -> int:
        """Put the last checkpoint's state into student, optimiser and random generators; return its step (0: none).

        Args:
            student: Wrapped by peft.
            optimiser: Of its trainable weights.
            writes: Whether this process keeps the log: one of several does.

        Raises:
            ValueError: The checkpoint is of a run with other settings or other examples.
        """
        import torch

        path = self.folder / _CHECKPOINT
        if not path.exists():
            if writes:
                (self.folder / _METRICS).unlink(missing_ok=True)
            return 0
        state = torch.load(path, weights_only=True)
        refuse_changes(
            changes(state["settings"], self._settings()),
            f"The steps in {path}",
            "give the run another name, or delete the folder",
        )
        weights = dict(student.named_parameters())
        with torch.no_grad():
            for name, value in state["adapter"].items():
                weights[name].copy_(value)
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        done: int = state["step"]
        # Steps after the checkpoint are done again.
        if not writes:
            return done
        lines = (self.folder / _METRICS).read_text(encoding="utf-8").splitlines()
        self.records = [json.loads(line) for line in lines[:done]]
        save_text(self.folder / _METRICS, "".join(json.dumps(record) + "\n" for record in self.records))
        print(f"Resumed after step {done} of {self.steps}.", flush=True)
        return done

    def add(self, record: dict[str, Any]) -> None:
        """Append one step's metrics and print them."""
        self.records.append(record)
        with (self.folder / _METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        rate = record["tokens"] / max(record["seconds"], 1e-9)
        spent = sum(one["seconds"] for one in self.records)
        left = spent / len(self.records) * (self.steps - record["step"]) / 60
        extra = "".join(f", {name} {record[name]:.3f}" for name in ("held_out_loss", "parse_rate") if name in record)
        line = (
            f"step {record['step']}/{self.steps}: loss {record['loss']:.3f}, {rate:.0f} tokens/s, {left:.0f} min left"
        )
        print(line + extra, file=sys.stderr, flush=True)

    def checkpoint(self, step: int, student: Any, optimiser: Any) -> None:
        """Save all that the remaining steps depend on."""
        import torch

        with (self.folder / _METRICS).open("rb") as file:  # the checkpoint counts on these lines
            os.fsync(file.fileno())
        state = {
            "settings": self._settings(),
            "step": step,
            "adapter": {name: weight for name, weight in student.named_parameters() if weight.requires_grad},
            "optimiser": optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        with whole(self.folder / _CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def finish(self, student: Any, *, examples: int, too_long: int) -> None:
        """Save adapter, summary and plot, and give the folder its final name."""
        for adapter in student.peft_config.values():
            adapter.base_model_name_or_path = self.config.finetune.student  # not where it lay on this machine
            adapter.target_modules = sorted(adapter.target_modules)  # a set has another order in each process
        student.save_pretrained(self.folder, save_embedding_layers=False)  # they are not trained
        (self.folder / "README.md").unlink(missing_ok=True)  # peft's template; the card is written at export
        last = {name: value for record in self.records for name, value in record.items()}
        seconds = sum(record["seconds"] for record in self.records)
        tokens = sum(record["tokens"] for record in self.records)
        summary = {
            "settings": self._settings(),
            "examples": examples,
            "too_long": too_long,
            "steps": self.steps,
            "tokens": tokens,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
            "held_out_loss": last.get("held_out_loss"),
            "parse_rate": last.get("parse_rate"),
        }
        save_json(self.folder / "training.json", summary)
        plot(self.records, self.folder / "loss.png")
        final = self.folder.with_suffix("")
        self.folder.rename(final)
        (final / _CHECKPOINT).unlink(missing_ok=True)  # not before: a run killed here would begin anew

    def _settings(self) -> dict[str, Any]:
        """Return what the weights depend on, as JSON keeps it."""
        settings = self.config.finetune.model_dump(
            mode="json", exclude={"evaluate_every", "checkpoint_every", "threads", "compile", "start"}
        )
        return {
            **settings,
            "seed": self.config.seed,
            "max_subquestions": self.config.demonstrate.max_subquestions,
            "data": self.data,
            "start": self.start,
            "steps": self.steps,
            "prompt_version": PROMPT_VERSION,
        }


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Draw training loss (a running mean) and held-out loss by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    window = max(1, len(records) // 20)
    losses = [record["loss"] for record in records]
    running = [
        sum(losses[max(0, index - window + 1) : index + 1]) / min(window, index + 1) for index in range(len(losses))
    ]
    axes.plot([record["step"] for record in records], running, label=f"training, mean of {window}")
    held_out = [(record["step"], record["held_out_loss"]) for record in records if "held_out_loss" in record]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", label="held out")
    axes.set_xlabel("step")
    axes.set_ylabel("loss per completion token (nats)")
    axes.legend()
    figure.savefig(path, dpi=150)
