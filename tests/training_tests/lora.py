"""A student with an adapter that says something, saved as peft does."""

from pathlib import Path
from typing import Any

from training.config import Finetune
from training.student.finetune import add_lora
from training.student.model import load_student


def at_random(student: Any, std: float) -> None:
    """Give the adapter of a student something to say."""
    import torch

    for name, weight in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=std)


def train_at_random(base: Path, folder: Path, *, rank: int = 8, seed: int = 0) -> Any:
    """Save a random adapter for a GGUF in `folder`; return the model with it, and its tokenizer."""
    import torch

    torch.manual_seed(seed)
    model, tokenizer = load_student(str(base), folder, "float32")
    student = add_lora(model, Finetune(rank=rank, alpha=2 * rank))
    at_random(student, std=0.05)
    student.save_pretrained(folder, save_embedding_layers=False)
    return student.eval(), tokenizer
