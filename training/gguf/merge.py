"""The model with its adapter worked in: the base GGUF with B times A added to its own tensors.

Nothing passes through another format: tokenizer, chat template and every other value of the header are the base's own.
Matrices become F16, whatever they were, and vectors stay as they are.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from training.store import whole
from training.student.adapter import Lora

# Said anew of the merged model, or written by the writer itself.
_OWN = {
    "general.architecture",
    "general.name",
    "general.file_type",
    "general.quantization_version",
    "general.alignment",
}


def merge(base: Path, lora: Lora, path: Path, name: str) -> None:
    """Write the merged model as F16, to a temporary name that is renamed. One tensor is in memory at a time.

    That the adapter fits the base is checked where it is written: see `write_adapter`.
    """
    reader = gguf.GGUFReader(base)
    shapes = {tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors}
    with whole(path) as temporary:
        writer = gguf.GGUFWriter(temporary, str(reader.fields["general.architecture"].contents()))
        writer.add_name(name)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        for key, field in reader.fields.items():
            if key not in _OWN and not key.startswith("GGUF."):
                element = field.types[-1] if len(field.types) > 1 else None
                writer.add_key_value(key, field.contents(), field.types[0], element)
        for tensor in reader.tensors:
            half = len(tensor.shape) > 1
            kind = gguf.GGMLQuantizationType.F16 if half else tensor.tensor_type
            size = tensor.n_elements * 2 if half else tensor.n_bytes
            writer.add_tensor_info(tensor.name, shapes[tensor.name], np.dtype(np.float16), size, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in reader.tensors:
            values: Any = tensor.data
            if len(tensor.shape) > 1:
                values = gguf.quants.dequantize(values, tensor.tensor_type).reshape(shapes[tensor.name])
                if tensor.name in lora.pairs:
                    values = values + lora.delta(tensor.name)
                values = values.astype(np.float16)
            writer.write_tensor_data(np.ascontiguousarray(values))
        writer.close()
