"""Damaged GGUF files on both engines: each either loads and answers, or is refused with an error of ours.

`--count` files an engine, made from a small random model of three families and an adapter for it: values of the header
changed, removed or of another type, arrays cut, tensors renamed, reshaped, of another type or place, values that are no
numbers, templates that are broken, endless or huge, bytes flipped, files cut short. Each is loaded in a process of its
own as a user's file is, then asked for a reply, for one by a grammar, and for tokens. The trial in a child process is a
fork in nine cases of ten, which saves the start of Python, and as users have it in the tenth.
"""

import importlib
import os
import random
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_divconq.errors import EngineError
from langchain_divconq.llamacpp.engines import load_engine, trial
from langchain_divconq.llamacpp.engines.base import EngineName, EngineSettings, Request
from tests.campaigns.children import each_in_child, in_fork, run_forked
from tests.campaigns.report import Report, engines
from tests.gguf_writer import ARRAY, Parts, write_adapter

Change = Callable[[Parts, random.Random], str]
_SECONDS = 120  # a file that never ends takes the trial its 30, on an idle machine
_GOOD = ("loads and answers", "refused", "loads, and says why it does not answer")


def run(count: int, seed: int) -> Report:
    names = engines()
    report = Report(settings={"engines": list(names), "files_an_engine": count})
    with tempfile.TemporaryDirectory() as folder:
        bases = make_bases(Path(folder))
        cases = [(name, folder, seed, number) for name in names for number in range(count)]
        for case, outcome in each_in_child(work, cases, seconds=2 * _SECONDS):
            given = f"{case[0]}, {damaged(bases, seed, case[3])[1]}"
            kind, _, what = outcome.partition(": ")
            if kind in _GOOD:
                report.passed(f"{kind}: {what}" if what else kind)
            else:
                report.failed(case[3], given, outcome, outcome=kind)
    return report


def work(case: tuple[EngineName, str, int, int]) -> str:
    name, folder, seed, number = case
    base, _, content, is_adapter = damaged_file(bases_in(Path(folder)), seed, number)
    path = Path(folder) / "damaged.gguf"
    path.write_bytes(content)
    settings = EngineSettings(base, path, n_ctx=256) if is_adapter else EngineSettings(path, n_ctx=256)
    importlib.import_module("llama_cpp" if name == "llama-cpp-python" else "xllamacpp")  # once, not in each fork
    return in_fork(lambda: use(settings, name, as_users_do=number % 10 == 0), seconds=_SECONDS)


def run_trial(command: list[str], *, input: bytes, timeout: float, **_: object) -> "subprocess.CompletedProcess[bytes]":
    """Stand in for `subprocess.run` in `trial.py`."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    return run_forked(trial.main, given=input, seconds=timeout / 3)


def use(settings: EngineSettings, name: EngineName, *, as_users_do: bool) -> str:
    """Load a file and ask everything of it that a user asks; the trial starts a Python of its own, or is a fork."""
    if not as_users_do:
        subprocess.run = run_trial  # type: ignore[assignment]  # in this fork alone
    try:
        engine = load_engine(settings, name)
    except EngineError as error:
        return f"refused: {type(error).__name__}"
    faults = set()
    try:
        prompt = engine.render([{"role": "user", "content": "How many pens? <|im_end|> " * 10}])
        for request in (Request(prompt, 8), Request(prompt, 8, grammar='root ::= [^\\n]+ "\\n"', top_logprobs=2)):
            engine.generate(request, lambda _: False, lambda: False)
    except EngineError as error:
        faults.add(type(error).__name__)
    engine.tokenize("Hé 🙂 <|im_start|>", special=False)
    return f"loads, and says why it does not answer: {', '.join(sorted(faults))}" if faults else _GOOD[0]


def make_bases(folder: Path) -> list[Path]:
    """Write the whole files that are to be damaged: three models, and an adapter for the first."""
    from training.student.tiny import make_tiny

    for family in ("llama", "qwen2", "qwen3"):
        make_tiny(folder / f"{family}.gguf", family)
    write_adapter(folder / "adapter.gguf", tensor="blk.0.attn_q.weight", inner=64, outer=64, fill=0.01)
    return bases_in(folder)


def bases_in(folder: Path) -> list[Path]:
    return [folder / f"{name}.gguf" for name in ("llama", "qwen2", "qwen3", "adapter")]


def damaged(bases: list[Path], seed: int, number: int) -> tuple[bytes, str]:
    _, what, content, _ = damaged_file(bases, seed, number)
    return content, what


def damaged_file(bases: list[Path], seed: int, number: int) -> tuple[Path, str, bytes, bool]:
    """Return the model to load, what was done, the damaged file, and whether it is the adapter."""
    chance = random.Random(f"{seed} {number}")
    base = chance.choices(bases, [5, 2, 2, 2])[0]
    is_adapter = base.stem == "adapter"
    content = base.read_bytes()
    if chance.random() < 0.25:
        what, content = chance.choice([cut_short, flip_bytes, flip_in_header])(content, chance)
    else:
        parts = Parts.read(content)
        changes = [change for change in CHANGES if not (is_adapter and change is change_template)]
        done = [chance.choice(changes)(parts, chance) for _ in range(chance.choice([1, 1, 1, 2]))]
        what, content = "; ".join(done), parts.write()
    return bases[0] if is_adapter else base, f"{base.stem}: {what}", content, is_adapter


def cut_short(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    length = chance.randrange(len(content))
    return f"cut to {length} bytes", content[:length]


def flip_bytes(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    changed = bytearray(content)
    places = [chance.randrange(len(content)) for _ in range(chance.choice([1, 8, 64]))]
    for place in places:
        changed[place] = chance.randrange(256)
    return f"{len(places)} bytes changed", bytes(changed)


def flip_in_header(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    place = chance.randrange(4, min(2000, len(content)))
    size = chance.choice([1, 4, 8])
    value = chance.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]).to_bytes(8, "little")[:size]
    return f"{value.hex()} written at {place}", content[:place] + value + content[place + size :]


def change_value(parts: Parts, chance: random.Random) -> str:
    key = chance.choice([key for key, (kind, _) in parts.values.items() if kind != ARRAY])
    kind, raw = parts.values[key]
    known: dict[int, list[Any]] = {
        4: [0, 1, 2, 3, 7, 63, 2**15, 2**31 - 1, 2**31, 2**32 - 1],
        6: [0.0, -1.0, 1e-45, 1e38, float("nan"), float("inf"), float("-inf")],
        7: [0, 1],
        8: ["", "llama", "gpt2", "bert", "t5", "rwkv", "none", "x" * 5000, "\0", "default", "qwen2", "gemma"],
    }
    value = chance.choice(known.get(kind, [0, 2**63, 2**64 - 1]))
    parts.values[key] = (kind, encode(kind, value, len(raw)))
    return f"{key} = {str(value)[:20]!r}"


def encode(kind: int, value: Any, size: int) -> bytes:
    if kind == 8:
        return struct.pack("<Q", len(value)) + bytes(value, "utf-8")  # all of them ASCII
    layout = {4: "<I", 6: "<f", 7: "<B"}.get(kind)
    return struct.pack(layout, value) if layout else int(value).to_bytes(8, "little")[:size]


def change_type(parts: Parts, chance: random.Random) -> str:
    key = chance.choice(list(parts.values))
    parts.values[key] = chance.choice(
        [(4, b"\1\0\0\0"), (6, b"\0\0\0\x40"), (7, b"\1"), (8, struct.pack("<Q", 3) + b"one"), (5, b"\xff" * 4)]
    )
    return f"{key} of type {parts.values[key][0]}"


def drop_value(parts: Parts, chance: random.Random) -> str:
    key = chance.choice(list(parts.values))
    del parts.values[key]
    return f"no {key}"


def cut_array(parts: Parts, chance: random.Random) -> str:
    arrays = [key for key, (kind, _) in parts.values.items() if kind == ARRAY]
    if not arrays:
        return drop_value(parts, chance)
    key = chance.choice(arrays)
    element, items = parts.items(key)
    length = chance.choice([0, 1, len(items) - 1, len(items) // 2, len(items) + 1])
    parts.set_items(key, element, (items + items[:1])[:length])
    return f"{length} of {len(items)} {key}"


def change_item(parts: Parts, chance: random.Random) -> str:
    arrays = [key for key, (kind, _) in parts.values.items() if kind == ARRAY]
    if not arrays:
        return change_value(parts, chance)
    key = chance.choice(arrays)
    element, items = parts.items(key)
    place = chance.randrange(len(items))
    if element == 8:
        text = chance.choice([b"", b"\xff\xfe", b"<|im_end|>", b"a", b"a b c", b"x" * 3000, b"\0"])
        items[place] = struct.pack("<Q", len(text)) + text
    else:
        items[place] = chance.choice([b"\0", b"\3", b"\xff"]) * len(items[place])
    parts.set_items(key, element, items)
    return f"{key}[{place}] = {items[place][:20]!r}"


def change_template(parts: Parts, chance: random.Random) -> str:
    key = "tokenizer.chat_template"
    templates = [
        b"{% for", b"{{ messages[0].content", b"\xff\xfe\x00", b"", b"{{ 1 / 0 }}", b"{{ undefined.attribute }}",
        b"{% for a in range(99999) %}" * 3 + b"{% endfor %}" * 3,
        b"{{ messages }}" * 50_000, b"{{ raise_exception('no') }}", b"{{ 'x' * 100000000 }}", b"{% include 'x' %}",
        b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", b"{{ ''.__class__.__mro__ }}", b"{{" + b"(" * 9000,
    ]  # fmt: skip
    template = chance.choice(templates)
    parts.values[key] = (8, struct.pack("<Q", len(template)) + template)
    return f"template {template[:30]!r} of {len(template)} bytes"


def change_tensor(parts: Parts, chance: random.Random) -> str:
    name = chance.choice(list(parts.tensors))
    tensor = parts.tensors[name]
    what = chance.randrange(6)
    if what == 0:
        del parts.tensors[name]
        return f"no tensor {name}"
    if what == 1:
        parts.tensors[f"{name}.x"] = parts.tensors.pop(name)
        return f"{name} renamed"
    if what == 2:
        tensor.dimensions[chance.randrange(len(tensor.dimensions))] = chance.choice([0, 1, 3, 65, 2**31, 2**62])
        return f"{name} of {tensor.dimensions}"
    if what == 3:
        tensor.dimensions.reverse()
        return f"{name} turned"
    if what == 4:
        tensor.kind = chance.choice([1, 2, 3, 8, 12, 14, 24, 27, 28, 30, 39, 40, 99])
        return f"{name} of type {tensor.kind}"
    tensor.offset = chance.choice([0, 1, 32, 2**40, 2**63])
    return f"{name} at {tensor.offset}"


def change_numbers(parts: Parts, chance: random.Random) -> str:
    name = chance.choice(list(parts.tensors))
    value = chance.choice([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-44])
    every = chance.choice([1, 7, 10_000])
    data = bytearray(parts.tensors[name].data)
    for place in range(0, len(data) - 3, 4 * every):
        struct.pack_into("<f", data, place, value)
    parts.tensors[name].data = bytes(data)
    return f"{value} in {name}"


CHANGES: list[Change] = [
    change_value, change_value, change_value, change_type, drop_value, cut_array, change_item, change_template,
    change_tensor, change_tensor, change_numbers,
]  # fmt: skip
