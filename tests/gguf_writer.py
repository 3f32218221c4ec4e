"""Small GGUF files for tests, written byte by byte: models without sense, and adapters."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = int | float | bool | str | Sequence[str] | Sequence[int]


def gguf_bytes(
    metadata: Mapping[str, Value],
    tensors: Mapping[str, tuple[int, ...]] | None = None,
    *,
    version: int = 3,
    fill: float = 0.0,
) -> bytes:
    """Return a GGUF of these values and 32-bit float tensors (name to dimensions, fastest-varying first)."""
    tensors = tensors or {}
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _string(key) + _value(value)
    data = b""
    for name, shape in tensors.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        size = 1
        for dimension in shape:
            size *= dimension
        data += struct.pack("<f", fill) * size
        data += b"\0" * (-len(data) % 32)
    return head + b"\0" * (-len(head) % 32) + data


def write_model(path: Path, *, architecture: str = "llama", width: int = 8) -> Path:
    """Write something with the header of a model."""
    metadata = {"general.architecture": architecture, "general.type": "model", "general.name": "Tiny"}
    path.write_bytes(gguf_bytes(metadata, {"token_embd.weight": (width, 4), "blk.0.attn_q.weight": (width, width)}))
    return path


def write_adapter(
    path: Path,
    *,
    architecture: str = "llama",
    tensor: str = "blk.0.attn_q.weight",
    inner: int = 8,
    outer: int = 8,
    rank: int = 2,
    fill: float = 0.0,
    kind: str = "lora",
) -> Path:
    """Write a LoRA adapter for one tensor of `inner` by `outer`."""
    metadata: dict[str, Value] = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "adapter.type": kind,
        "adapter.lora.alpha": float(rank),
    }
    pair = {f"{tensor}.lora_a": (inner, rank), f"{tensor}.lora_b": (rank, outer)}
    path.write_bytes(gguf_bytes(metadata, pair, fill=fill))
    return path


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<IQ", 10, value) if value >= 2**32 else struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if all(isinstance(item, str) for item in value):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_string(str(item)) for item in value)
    return struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
