"""The header of a GGUF file: what is in it, whether all of it is there, whether an adapter fits a model.

A reader of our own because every load passes through it: the `gguf` package needs numpy, and builds a Python object for
every token of the vocabulary before it answers. This one walks over arrays without building anything (30 ms for a
vocabulary of 49,152), and turns any damage into an error in words before llama.cpp sees the file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from langchain_divconq.errors import AdapterMismatchError, InvalidWeightsError, WeightsNotFoundError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# ggml type: (elements in a block, bytes of a block), from ggml-common.h.
# fmt: off
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36),
}
# fmt: on
# What a model cannot be without, and what llama.cpp takes at most: it ends the process over others.
_COUNTS = {"block_count": (1, 512), "context_length": (1, 2**31 - 1), "embedding_length": (1, 2**31 - 1)}
_MOST_TEMPLATE = 1_000_000  # characters; the longest in use have 30,000
_REMEDY = "Download or export it again, or pass the path of a GGUF model."


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself.

    Attributes:
        path: The file.
        metadata: Its key-value pairs, arrays left out.
        arrays: Where arrays begin, for `read_array`: key to (element type, count, byte offset).
        shapes: Tensor name to its dimensions, fastest-varying first, as ggml orders them.
        places: Tensor name to its ggml type, and where in the file its values begin.
    """

    path: Path
    metadata: Mapping[str, int | float | bool | str]
    arrays: Mapping[str, tuple[int, int, int]]
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, tuple[int, int]]

    def text(self, key: str) -> str:
        """Return a string value; empty where the file has none under this key."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int | None:
        """Return a whole number; None where the file has none under this key."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str:
        """The family of models it belongs to, such as "llama"."""
        return self.text("general.architecture")

    @property
    def context_length(self) -> int | None:
        """Tokens of context it was trained with."""
        return self.integer(f"{self.architecture}.context_length")

    @property
    def name(self) -> str:
        """The model's own name, or the file's."""
        return self.text("general.name") or self.path.stem


class _Cursor:
    """Reads forward through a file, never past its end."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path, self.position = path, start
        with open_weights(path) as file:
            is_empty = not os.fstat(file.fileno()).st_size
            self.data = b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self.data)

    def skip(self, count: int) -> int:
        """Return where the next bytes begin, and go beyond them."""
        start = self.position
        if start + count > self.size:
            raise _cut_short(self.path, start + count, self.size)
        self.position += count
        return start

    def unpack(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))

    def string(self) -> str:
        start = self.skip(self.unpack("Q")[0])
        return self.data[start : self.position].decode(errors="replace")


def read_header(path: Path) -> GgufHeader:
    """Read a GGUF file's header and check that the file holds all the tensors it lists.

    Raises:
        WeightsNotFoundError: There is no such file.
        InvalidWeightsError: It is no GGUF, of a version llama.cpp does not read, damaged, or cut short.
    """
    return _read(_Cursor(path))


def open_weights(path: Path) -> BufferedReader:
    """Open a file of weights. What is no file (a folder, a pipe, a device) is refused before anything waits for it.

    Raises:
        WeightsNotFoundError: There is no such file.
        InvalidWeightsError: It is no file, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InvalidWeightsError(f"{path} cannot be read: it is {_kind(mode)}, not a file. {_REMEDY}")
        return path.open("rb")
    except FileNotFoundError:
        raise WeightsNotFoundError(f"There is no file at {path}. Pass the path of a GGUF model.") from None
    except OSError as error:
        raise InvalidWeightsError(f"{path} cannot be read: {error.strerror}. {_REMEDY}") from error


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def read_array(header: GgufHeader, key: str) -> list[Any]:
    """Return an array of strings or numbers from a file's header, such as the vocabulary; empty where it has none."""
    kind, count, offset = header.arrays.get(key, (_STRING, 0, 0))
    cursor = _Cursor(header.path, offset)
    if kind == _STRING:
        return [cursor.string() for _ in range(count)]
    return list(cursor.unpack(f"{count}{_SCALARS[kind]}")) if kind in _SCALARS else []


def check_model(header: GgufHeader) -> None:
    """Raise InvalidWeightsError for a GGUF that is not a language model's weights: an adapter, a vocabulary."""
    kind = header.text("general.type") or "model"
    if kind == "adapter":
        raise InvalidWeightsError(f"{header.path} is a LoRA adapter, not a model. Pass it as adapter_path.")
    if kind != "model" or not header.architecture or not header.shapes:
        raise InvalidWeightsError(
            f"{header.path} is a GGUF without a model in it (type {kind!r}, architecture {header.architecture!r}, "
            f"{len(header.shapes)} tensors). {_REMEDY}"
        )
    for key, (least, most) in _COUNTS.items():
        count = header.integer(f"{header.architecture}.{key}")
        if count is not None and not least <= count <= most:
            raise InvalidWeightsError(
                f"{header.path} is damaged: {header.architecture}.{key} is {count}; expected {least} to {most:,}. "
                f"{_REMEDY}"
            )
    for key, value in header.metadata.items():
        if isinstance(value, float) and key.startswith(header.architecture) and not math.isfinite(value):
            raise InvalidWeightsError(f"{header.path} is damaged: {key} is {value}; expected a number. {_REMEDY}")
    if len(header.text("tokenizer.chat_template")) > _MOST_TEMPLATE:
        raise InvalidWeightsError(
            f"{header.path} has a chat template of {len(header.text('tokenizer.chat_template')):,} characters; "
            f"expected at most {_MOST_TEMPLATE:,}. {_REMEDY}"
        )


def check_numbers(header: GgufHeader) -> None:
    """Raise InvalidWeightsError, with file and tensor, for values among 16- and 32-bit floats that are no numbers.

    Of a model only the 32-bit ones are read: llama.cpp looks at the others.
    """
    kinds = {0: ("f", 4), 1: ("e", 2)} if header.text("general.type") == "adapter" else {0: ("f", 4)}
    with open_weights(header.path) as file:
        for name, (kind, offset) in header.places.items():
            if kind not in kinds:
                continue
            code, size = kinds[kind]
            file.seek(offset)
            left = math.prod(header.shapes[name])
            while left > 0:
                count = min(left, 1 << 20)
                left -= count
                if not math.isfinite(math.fsum(struct.unpack(f"<{count}{code}", file.read(count * size)))):
                    raise InvalidWeightsError(
                        f"{header.path} is damaged: {name} holds values that are no numbers (NaN or infinity). "
                        f"{_REMEDY}"
                    )


def check_adapter(model: GgufHeader, adapter: GgufHeader) -> None:
    """Raise AdapterMismatchError for what is no LoRA, or has other architecture, tensors or shapes than the model."""
    where = f"The adapter {adapter.path} does not fit {model.path}"
    kinds = adapter.text("general.type"), adapter.text("adapter.type")
    if kinds != ("adapter", "lora"):
        raise AdapterMismatchError(
            f"{adapter.path} is not a LoRA adapter: its general.type and adapter.type are {kinds[0]!r} and "
            f"{kinds[1]!r}, not 'adapter' and 'lora'. Export the adapter as GGUF again."
        )
    if adapter.architecture != model.architecture:
        raise AdapterMismatchError(
            f"{where}: it was trained on the architecture {adapter.architecture!r}, the model is a "
            f"{model.architecture!r}. Load the model it was trained on."
        )
    for name, shape in adapter.shapes.items():
        target, _, half = name.rpartition(".")
        if half not in ("lora_a", "lora_b"):
            continue
        if target not in model.shapes:
            raise AdapterMismatchError(
                f"{where}: the model has no tensor {target!r}. Load the model it was trained on."
            )
        # A pair is in→rank and rank→out; of the embedding llama.cpp stores the first one the other way round.
        is_embedding = target == "token_embd.weight"
        inner, outer, *_ = (*model.shapes[target], 0, 0)
        a, b = (adapter.shapes.get(f"{target}.{half}", ()) for half in ("lora_a", "lora_b"))
        found = (a[is_embedding], b[1]) if len(a) == len(b) == 2 else None
        if found != ((outer, inner) if is_embedding else (inner, outer)):
            raise AdapterMismatchError(
                f"{where}: {name} has shape {shape}, but {target} maps {inner} to {outer} values and the pair of "
                f"lora_a and lora_b maps {found}. Load the model it was trained on."
            )


def _read(cursor: _Cursor) -> GgufHeader:
    magic = cursor.data[: cursor.skip(min(4, cursor.size)) + 4]
    if magic != b"GGUF":
        raise InvalidWeightsError(
            f"{cursor.path} is not a GGUF file: it begins with {magic!r}, a GGUF with b'GGUF'. {_REMEDY}"
        )
    (version,) = cursor.unpack("I")
    if version not in (2, 3):
        raise _damaged(cursor, f"is GGUF version {version}; llama.cpp reads versions 2 and 3 in little-endian order")
    n_tensors, n_values = cursor.unpack("QQ")
    metadata, arrays = _read_values(cursor, n_values)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise _damaged(cursor, f"has general.alignment {alignment!r}, which is no power of two")
    shapes, offsets, end = _read_tensors(cursor, n_tensors)
    start = -(-cursor.position // alignment) * alignment
    if n_tensors and start + end > cursor.size:
        raise _cut_short(cursor.path, start + end, cursor.size)
    places = {name: (kind, start + offset) for name, (kind, offset) in offsets.items()}
    return GgufHeader(cursor.path, metadata, arrays, shapes, places)


def _read_values(
    cursor: _Cursor, count: int
) -> tuple[dict[str, int | float | bool | str], dict[str, tuple[int, int, int]]]:
    """Return the key-value pairs, and where the arrays among them begin, as `GgufHeader` has both."""
    metadata: dict[str, int | float | bool | str] = {}
    arrays: dict[str, tuple[int, int, int]] = {}
    for _ in range(count):
        key = cursor.string()
        (kind,) = cursor.unpack("I")
        if kind == _ARRAY:
            element, length = cursor.unpack("IQ")
            arrays[key] = (element, length, cursor.position)
            _skip_array(cursor, element, length, 0)
        elif kind == _STRING:
            metadata[key] = cursor.string()
        elif kind in _SCALARS:
            metadata[key] = cursor.unpack(_SCALARS[kind])[0]
        else:
            raise _damaged(cursor, f"has a value of unknown type {kind} under {key[:80]!r}")
    return metadata, arrays


def _read_tensors(cursor: _Cursor, count: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, int]], int]:
    """Return the tensors' shapes, their types and offsets among the values, and where the last one ends there."""
    shapes, offsets, end = {}, {}, 0
    for _ in range(count):
        name = cursor.string()
        (n_dimensions,) = cursor.unpack("I")
        if n_dimensions > 4:
            raise _damaged(cursor, f"gives the tensor {name[:80]!r} {n_dimensions} dimensions, more than four")
        shapes[name] = cursor.unpack(f"{n_dimensions}Q")
        kind, offset = cursor.unpack("IQ")
        offsets[name] = kind, offset
        elements, size = _BLOCKS.get(kind, (1, 0))  # a type newer than this table: only its beginning is checked
        end = max(end, offset + math.prod(shapes[name]) // elements * size)
    return shapes, offsets, end


def _skip_array(cursor: _Cursor, element: int, count: int, depth: int) -> None:
    if element == _STRING:
        for _ in range(count):
            cursor.skip(cursor.unpack("Q")[0])
    elif element == _ARRAY and depth < 4:
        for _ in range(count):
            inner, inner_count = cursor.unpack("IQ")
            _skip_array(cursor, inner, inner_count, depth + 1)
    elif element in _SCALARS:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[element]))
    else:
        raise _damaged(cursor, f"has an array of unknown type {element}")


def _damaged(cursor: _Cursor, fault: str) -> InvalidWeightsError:
    return InvalidWeightsError(f"{cursor.path} {fault}. {_REMEDY}")


def _cut_short(path: Path, expected: int, found: int) -> InvalidWeightsError:
    return InvalidWeightsError(
        f"{path} is cut short: its header speaks of at least {expected:,} bytes and it has {found:,}. {_REMEDY}"
    )
