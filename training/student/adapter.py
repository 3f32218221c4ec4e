"""A LoRA adapter as peft saves it, in llama.cpp's terms: its names, its order of rows, its file.

llama.cpp rotates neighbouring values of a head in models of the llama family, where Hugging Face rotates the first half
against the second. So the rows of their queries and keys stand in another order in a GGUF, and with them the rows of
the adapter's B. In qwen2 and qwen3 llama.cpp rotates as Hugging Face does.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gguf
import numpy as np

from langchain_divconq.llamacpp.engines.gguf import GgufHeader, check_adapter, read_header
from training.store import whole

Array: TypeAlias = np.ndarray[Any, Any]

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PEFT_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_(A|B)\.weight")
_BLOCK = 32  # values in a block of Q8_0, which lies in one row


@dataclass(frozen=True)
class Lora:
    """An adapter in llama.cpp's terms."""

    rank: int
    alpha: float
    """Alpha over rank times B times A is added to a weight."""
    pairs: Mapping[str, tuple[Array, Array]]
    """GGUF tensor name to (A, B), of rank by inputs and outputs by rank."""

    def delta(self, name: str) -> Array:
        """Return what is added to a tensor, as 32-bit floats."""
        inner, outer = self.pairs[name]
        return self.alpha / self.rank * (outer @ inner)


def load_lora(folder: Path, base: GgufHeader) -> Lora:
    """Return the adapter that peft saved in a folder.

    Args:
        folder: With adapter_model.safetensors and adapter_config.json.
        base: The GGUF it is for, which tells in which order its rows go.

    Raises:
        ValueError: It changes what llama.cpp's adapters have no place for, or half of a pair is missing; says what.
    """
    from safetensors.numpy import load_file

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    halves: dict[str, dict[str, Array]] = {}
    for name, values in load_file(folder / "adapter_model.safetensors").items():
        match = _PEFT_NAME.fullmatch(name)
        if match is None or match[2] not in _NAMES:
            raise ValueError(
                f"{folder} cannot be exported: it changes {name!r}, and only {', '.join(_NAMES)} have a place in a "
                "GGUF adapter. Train those alone."
            )
        values = values.astype("float32")
        if match[3] == "B":
            values = permute_rows(values, _rotated_heads(match[2], base))
        halves.setdefault(f"blk.{match[1]}.{_NAMES[match[2]]}.weight", {})[match[3]] = values
    for name, pair in halves.items():
        if len(pair) != 2 or {pair["A"].shape[0], pair["B"].shape[1]} != {settings["r"]}:
            raise ValueError(f"{folder} is damaged: it has no A and B of rank {settings['r']} for {name}. Train again.")
    by_block = sorted(halves, key=lambda name: (int(name.split(".")[1]), name))
    pairs = {name: (halves[name]["A"], halves[name]["B"]) for name in by_block}
    return Lora(settings["r"], float(settings["lora_alpha"]), pairs)


def read_adapter(path: Path, base: GgufHeader) -> dict[str, Array]:
    """Return the weights of an adapter in a GGUF under the names and in the order of rows that peft gives them.

    Args:
        path: What `write_adapter` wrote.
        base: The GGUF it is for.

    Raises:
        AdapterMismatchError: It does not fit the base.
    """
    check_adapter(base, read_header(path))
    layers = {short: layer for layer, short in _NAMES.items()}
    weights = {}
    for tensor in gguf.GGUFReader(path).tensors:
        _, block, short, _, half = tensor.name.split(".")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        half = half[-1].upper()
        if half == "B":
            values = permute_rows(values, _rotated_heads(layers[short], base), back=True)
        weights[f"base_model.model.model.layers.{block}.{layers[short]}.lora_{half}.weight"] = values
    return weights


def permute_rows(values: Array, heads: int | None, *, back: bool = False) -> Array:
    """Return rows in llama.cpp's order: the halves of each head interleaved; None: as they are.

    With `back` they are put into Hugging Face's order again.
    """
    if heads is None:
        return values
    split = (heads, -1, 2) if back else (heads, 2, -1)
    return values.reshape(*split, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def write_adapter(lora: Lora, path: Path, base: Path, kind: str, name: str, provenance: Mapping[str, str]) -> None:
    """Write an adapter as GGUF, to a temporary name that is renamed.

    Args:
        lora: What to write.
        path: The file.
        base: The GGUF it is for; checked against it.
        kind: How values are stored: "F32", "F16" or "Q8_0". Q8_0 packs 32 values of a row together, so a B whose rank
            is no multiple of 32 is stored as F16 instead.
        name: What the adapter calls itself.
        provenance: More to say in the header, as text: how the adapter came about.

    Raises:
        AdapterMismatchError: It does not fit the base.
    """
    header = read_header(base)
    with whole(path) as temporary:
        writer = gguf.GGUFWriter(temporary, header.architecture)
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, header.name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", lora.alpha)
        for key, value in provenance.items():
            writer.add_string(f"divconq.{key}", value)
        for tensor, pair in lora.pairs.items():
            for half, values in zip(("lora_a", "lora_b"), pair, strict=True):
                stored = "F16" if kind == "Q8_0" and values.shape[1] % _BLOCK else kind
                type_ = gguf.GGMLQuantizationType[stored]
                writer.add_tensor(f"{tensor}.{half}", gguf.quants.quantize(values, type_), raw_dtype=type_)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        check_adapter(header, read_header(temporary))


def keep_of_start(student: Any, start: Path, base: Path, share: float) -> None:
    """Put into a student the average of its adapter and the one that it started from.

    What is learned anew and what was known before are often both kept better there than at either end (Wortsman et al.
    2022, "Robust fine-tuning of zero-shot models", on whole weights).

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


def _rotated_heads(layer: str, base: GgufHeader) -> int | None:
    """Return how many heads' rows are to be interleaved; None: none are."""
    key = {"self_attn.q_proj": "head_count", "self_attn.k_proj": "head_count_kv"}.get(layer)
    if base.architecture != "llama" or key is None:
        return None
    heads = base.integer(f"llama.attention.{key}") or base.integer("llama.attention.head_count")
    if heads is None:
        raise ValueError(f"{base.path} does not say how many heads it has (llama.attention.{key}). Use another base.")
    return heads
