"""GGUF files for tests: models without sense and adapters, written; any file taken apart, changed and put together."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Value = int | float | bool | str | Sequence[str] | Sequence[int]
STRING, ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass
class Tensor:
    """What a header says of a tensor, and its bytes; `offset` None: where they are put."""

    dimensions: list[int]
    kind: int
    data: bytes
    offset: int | None = None


@dataclass
class Parts:
    """Values as (type, bytes) by key, and tensors by name. Tensors of 32-bit floats only are taken apart."""

    values: dict[str, tuple[int, bytes]]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, content: bytes) -> "Parts":
        n_tensors, n_values = struct.unpack_from("<QQ", content, 8)
        place, values, found = 24, {}, []
        for _ in range(n_values):
            key, place = _text(content, place)
            (kind,) = struct.unpack_from("<I", content, place)
            end = _end(content, place + 4, kind)
            values[key] = (kind, content[place + 4 : end])
            place = end
        for _ in range(n_tensors):
            name, place = _text(content, place)
            (count,) = struct.unpack_from("<I", content, place)
            dimensions = list(struct.unpack_from(f"<{count}Q", content, place + 4))
            place += 4 + 8 * count
            kind, offset = struct.unpack_from("<IQ", content, place)
            found.append((name, dimensions, kind, offset))
            place += 12
        start, tensors = -(-place // 32) * 32, {}
        for name, sizes, kind, offset in found:
            size = 4
            for dimension in sizes:
                size *= dimension
            tensors[name] = Tensor(sizes, kind, content[start + offset : start + offset + size])
        return cls(values, tensors)

    def write(self, version: int = 3) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", version, len(self.tensors), len(self.values))
        for key, (kind, raw) in self.values.items():
            head += _packed(key) + struct.pack("<I", kind) + raw
        data = b""
        for name, tensor in self.tensors.items():
            head += _packed(name) + struct.pack(
                f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions
            )
            head += struct.pack("<IQ", tensor.kind, len(data) if tensor.offset is None else tensor.offset)
            data += tensor.data + b"\0" * (-len(tensor.data) % 32)
        return head + b"\0" * (-len(head) % 32) + data

    def items(self, key: str) -> tuple[int, list[bytes]]:
        """Return an array's type of elements, and each one's bytes."""
        raw = self.values[key][1]
        element, count = struct.unpack_from("<IQ", raw)
        place, items = 12, []
        for _ in range(count):
            end = _end(raw, place, element)
            items.append(raw[place:end])
            place = end
        return element, items

    def set_items(self, key: str, element: int, items: list[bytes]) -> None:
        self.values[key] = (ARRAY, struct.pack("<IQ", element, len(items)) + b"".join(items))


def gguf_bytes(
    metadata: Mapping[str, Value],
    tensors: Mapping[str, tuple[int, ...]] | None = None,
    *,
    version: int = 3,
    fill: float = 0.0,
) -> bytes:
    """Return a GGUF of these values and 32-bit float tensors (name to dimensions, fastest-varying first)."""
    made = {
        name: Tensor(list(shape), 0, struct.pack("<f", fill) * math.prod(shape))
        for name, shape in (tensors or {}).items()
    }
    return Parts({key: _value(value) for key, value in metadata.items()}, made).write(version)


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


def _value(value: Value) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return (10, struct.pack("<Q", value)) if value >= 2**32 else (4, struct.pack("<I", value))
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, _packed(value)
    if all(isinstance(item, str) for item in value):
        return ARRAY, struct.pack("<IQ", STRING, len(value)) + b"".join(_packed(str(item)) for item in value)
    return ARRAY, struct.pack(f"<IQ{len(value)}I", 4, len(value), *value)


def _text(content: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", content, place)
    return content[place + 8 : place + 8 + length].decode(), place + 8 + length


def _packed(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _end(content: bytes, place: int, kind: int) -> int:
    if kind == STRING:
        return place + 8 + int(struct.unpack_from("<Q", content, place)[0])
    if kind == ARRAY:
        element, count = struct.unpack_from("<IQ", content, place)
        place += 12
        for _ in range(count):
            place = _end(content, place, element)
        return place
    return place + _SIZES[kind]
