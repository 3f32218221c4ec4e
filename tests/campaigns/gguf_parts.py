"""A GGUF file taken apart, so that any part of it can be changed, and put together again."""

import struct
from dataclasses import dataclass

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

    def write(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.values))
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
