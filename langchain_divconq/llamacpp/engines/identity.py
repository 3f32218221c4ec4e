"""Checksum and name of a file of weights, both kept for as long as the file is unchanged."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from langchain_divconq.errors import InvalidWeightsError
from langchain_divconq.llamacpp.engines.gguf import open_weights, read_header

_digests: dict[tuple[str, int, int, int], str] = {}


def fingerprint(path: Path) -> str:
    """Return a file's SHA-256 in hex; computed again only when the file changes (path, size, time or inode).

    Raises:
        WeightsNotFoundError: There is no such file.
        InvalidWeightsError: It is no file, or cannot be read.
    """
    with open_weights(path) as file:
        status = os.fstat(file.fileno())
        key = (os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in _digests:
            try:
                _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise InvalidWeightsError(f"{path} cannot be read: {error.strerror}. Get the file again.") from error
        return _digests[key]


def model_name(path: Path) -> str:
    """Return the name in a model's header; it fails as `read_header` does."""
    return _name(path, fingerprint(path))


@lru_cache(maxsize=16)
def _name(path: Path, checksum: str) -> str:
    return read_header(path).name
