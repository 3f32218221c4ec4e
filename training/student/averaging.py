"""An adapter between the one that a run started from and the one it ended with: what each adds to a weight, averaged.

What is learned anew and what was known before are often both kept better there than at either end (Wortsman et al.
2022, "Robust fine-tuning of zero-shot models", on whole weights).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langchain_divconq.llamacpp.engines.gguf import read_header
from training.student.adapter import Array, read_adapter


def keep_of_start(student: Any, start: Path, base: Path, share: float) -> None:
    """Put into a student the average of its adapter and the one that it started from.

    Args:
        student: peft's model, trained; changed in place.
        start: The GGUF of the adapter that the run went on from; of the same rank and alpha.
        base: The GGUF that it is for.
        share: How much of that adapter counts, from 0 to 1.
    """
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    new = get_peft_model_state_dict(student, save_embedding_layers=False)
    ended = {name: weight.detach().float().cpu().numpy() for name, weight in new.items()}
    averaged = average(ended, read_adapter(start, read_header(base)), share)
    set_peft_model_state_dict(student, {name: torch.from_numpy(values) for name, values in averaged.items()})


def average(ended: Mapping[str, Array], started: Mapping[str, Array], share: float) -> dict[str, Array]:
    """Return the adapter of the same rank that is nearest to the average of two, under peft's names.

    The average of two products of rank r has a rank of up to 2 r. Its greatest r singular values are kept; the small
    matrix between the four factors has the same ones.
    """
    found = {}
    for name in ended:
        if not name.endswith("lora_A.weight"):
            continue
        other = name.replace("lora_A", "lora_B")
        rank = ended[name].shape[0]
        left, small_left = np.linalg.qr(np.concatenate([ended[other], started[other]], axis=1))
        right, small_right = np.linalg.qr(np.concatenate([ended[name], started[name]]).T)
        weights = np.repeat([1 - share, share], rank)
        up, values, down = np.linalg.svd((small_left * weights) @ small_right.T)
        root = np.sqrt(values[:rank])
        found[other] = ((left @ up[:, :rank]) * root).astype("float32")
        found[name] = ((root[:, None] * down[:rank]) @ right.T).astype("float32")
    return found
