"""The files in the folder of a run of the recipe, for a comparison of two runs."""

import hashlib
import json
from pathlib import Path
from typing import Any


def contents(folder: Path) -> dict[str, Any]:
    """Return what is in each file of a run: of JSON and Markdown all but times, of others the checksum."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in (".lock", "config.json"):
            continue
        if path.suffix in (".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            lines = text.split("\n")[:-1] if path.suffix == ".jsonl" else [text]
            found[name] = [timeless(json.loads(line)) for line in lines]
        elif path.suffix == ".md":
            found[name] = [line for line in path.read_text(encoding="utf-8").splitlines() if "second" not in line]
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def timeless(value: Any) -> Any:
    """Return a JSON value without what depends on the machine's pace and on what a process had cached."""
    if isinstance(value, dict):
        fleeting = {"seconds", "tokens_per_second", "cached_tokens", "README.md"}  # the last: a checksum of such
        unordered = {"target_modules"}  # a set, as peft keeps it
        return {
            key: sorted(one) if key in unordered else timeless(one) for key, one in value.items() if key not in fleeting
        }
    if isinstance(value, float):
        return round(value, 9)  # how much of a prompt was cached shows in the last bits of a probability
    return [timeless(one) for one in value] if isinstance(value, list) else value
