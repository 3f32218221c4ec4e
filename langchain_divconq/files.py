"""Writes that outlive a power cut."""

import os
import sys
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder through to the disk: it keeps which file a name stands for."""
    if sys.platform != "win32":  # where a folder cannot be opened
        with suppress(OSError):  # one may be written into that cannot be read, and not every file system syncs folders
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
