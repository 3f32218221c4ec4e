"""Smaller variants of a GGUF, by llama.cpp's own quantiser."""

import ctypes
import importlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import gguf

from langchain_divconq.llamacpp.engines import physical_cores
from langchain_divconq.llamacpp.engines._logging import last_complaint, route_log
from training.config import Quantisation
from training.store import whole


def quantise(source: Path, path: Path, kind: Quantisation) -> None:
    """Write a GGUF in fewer bits, to a temporary name that is renamed.

    K-quants pack 256 values of a row together. Where a row is no multiple of that, llama.cpp takes a type with blocks
    of 32 instead: see `stored_types`.

    The source is of 16- or 32-bit floats.

    Raises:
        ValueError: llama.cpp refuses.
    """
    lib: Any = importlib.import_module("llama_cpp")
    route_log(lib)
    options = lib.llama_model_quantize_default_params()
    options.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{kind}")
    options.nthread = physical_cores()
    with whole(path) as temporary:
        code = lib.llama_model_quantize(os.fsencode(source), os.fsencode(temporary), ctypes.byref(options))
        if code != 0:
            temporary.unlink(missing_ok=True)
            raise ValueError(f"llama.cpp does not quantise {source} to {kind} (code {code}): {last_complaint()}")


def stored_types(path: Path) -> dict[str, int]:
    """Return how many of a GGUF's matrices are stored in each type, the commonest first."""
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1]
    return dict(Counter(tensor.tensor_type.name for tensor in matrices).most_common())
