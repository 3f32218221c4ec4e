"""Do two builds of llama.cpp write the same plans? `python -m tests.benchmarks.agreement CONFIG`.

The exported files of a run, each on both engines, on the questions held out from its training: the share of greedy
plans that are equal, held to no grammar.
"""

import argparse
import json
from pathlib import Path

from langchain_divconq import ChatGGUF
from langchain_divconq.llamacpp.engines import unload_engines
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.prompts import decomposition_prompt
from training.config import Config, load_toml
from training.example import Example, load_examples
from training.student.model import served_file

ENGINES: tuple[EngineName, ...] = ("llama-cpp-python", "xllamacpp")
MOST_TOKENS = 128


def plans(config: Config, examples: list[Example], engine: EngineName, file: str) -> list[str]:
    """Return the greedy plans of one exported file on one engine."""
    exported = config.folder / "5-gguf" / file
    if file.startswith("adapter"):
        model = ChatGGUF(model_path=served_file(config), adapter_path=exported, engine=engine)
    else:
        model = ChatGGUF(model_path=exported, engine=engine)
    cap = config.demonstrate.max_subquestions
    written = [
        str(model.invoke(decomposition_prompt(example.asked, cap, "student"), max_tokens=MOST_TOKENS).text)
        for example in examples
    ]
    unload_engines()
    return written


def main() -> None:
    """Print the shares and save them beside the run's other published figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--files", nargs="+", default=["adapter.gguf", "merged-F16.gguf"])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_toml(arguments.config, Config)
    examples = list(load_examples(config.folder / "3-validation.jsonl"))[: arguments.questions]
    result: dict[str, object] = {"questions": len(examples), "engines": ENGINES}
    for file in arguments.files:
        one, other = (plans(config, examples, engine, file) for engine in ENGINES)
        result[file] = {"equal": sum(a == b for a, b in zip(one, other, strict=True))}
        print(file, result[file], "of", len(examples), flush=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
