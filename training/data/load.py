"""Stage 1: from datasets to the training, validation and evaluation examples of a run, without leaks."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from pathlib import Path

from training.config import DATA, Config, Source
from training.data.leaks import Leak, drop_passage, find_leaks, normalise, whole_text
from training.data.sources import READERS, read_source
from training.example import Example, save_examples
from training.store import save_json

_EXPERIMENT_ONLY = ("least_to_most", "gsm8k_chatgpt")
_RECORDED = DATA / "recorded_teacher"
EVALUATION_SETS = (
    Source(name="gsm8k", split="test"),
    Source(name="gsm8k_one_step", split="test"),
    Source(name="drop", split="dev"),
    Source(name="drop", split="dev", path=DATA / "drop" / "drop_dataset_dev_sample.json"),
    Source(name="drop_qdmr", split="dev"),
    Source(name="bamboogle", split="test"),
    Source(name="strategyqa", split="dev"),
    Source(name="strategyqa_one_step", split="dev"),
    Source(name="musique", split="dev"),
    Source(name="musique_one_step", split="dev"),
    Source(name="everyday", split="dev"),
    Source(name="least_to_most", split="test", path=_RECORDED / "asdiv" / "gpt4_LtM.jsonl"),
    Source(name="least_to_most", split="test", path=_RECORDED / "multiarith" / "gpt4_LtM.jsonl"),
)
"""Everything under the data folder that is ever evaluated on: checked for leaks, whatever a config evaluates."""


@dataclass
class Counts:
    """What became of a source's examples."""

    read: int = 0
    duplicate: int = 0
    leaked: int = 0
    beyond_limit: int = 0
    held_out: int = 0
    kept: int = 0


def load(config: Config) -> None:
    """Write the run's training, validation and evaluation examples, and what the leak check dropped.

    Raises:
        ValueError: A source cannot be read, is not what a config may train or evaluate on, or two examples have one id.
    """
    _check(config)
    evaluation = _evaluation_examples(config.load.evaluate, config.seed)
    apart = _evaluation_examples(config.load.held_out, config.seed)
    at_hand = never_taught(config)
    counts = {describe(source): Counts() for source in config.load.train}
    unique: dict[str, list[Example]] = {}
    texts: set[str] = set()
    for source in config.load.train:
        name = describe(source)
        examples = [_refuse_evaluation(example) for example in read_source(source)]
        unique[name] = _without_duplicates(examples, texts)
        counts[name].read, counts[name].duplicate = len(examples), len(examples) - len(unique[name])
    _refuse_repeated_ids(chain(*unique.values(), evaluation, apart))
    leaks = find_leaks([*chain(*unique.values())], at_hand, config.load.ngram)
    chosen: dict[str, list[Example]] = {}
    for source in config.load.train:
        name = describe(source)
        clean = [example for example in unique[name] if example.id not in leaks]
        chosen[name] = sample(clean, source.limit, f"{config.seed} {name}")
        counts[name].leaked = len(unique[name]) - len(clean)
        counts[name].beyond_limit = len(clean) - len(chosen[name])
    everything = [*chain(*chosen.values())]
    held_out = hold_out(everything, config.load.validation, config.seed)
    for name, examples in chosen.items():
        counts[name].held_out = sum(example.id in held_out for example in examples)
        counts[name].kept = len(examples) - counts[name].held_out
    train = [example for example in everything if example.id not in held_out]
    random.Random(config.seed).shuffle(train)
    validation = [*(example for example in everything if example.id in held_out), *apart]
    save_examples(validation, config.folder / "1-validation.jsonl")
    save_examples(evaluation, config.folder / "1-evaluation.jsonl")
    _save_leaks(config, leaks, counts, at_hand)
    save_examples(train, config.folder / "1-examples.jsonl")
    print(render_counts(counts))


def never_taught(config: Config) -> list[Example]:
    """Return all that evaluates or is held out: what training examples must not give away."""
    apart = [*config.load.evaluate, *config.load.held_out]
    return [*chain(*map(read_source, _sets_at_hand(config))), *_evaluation_examples(apart, config.seed)]


def describe(source: Source) -> str:
    """Return a source's name, with where it lies unless that is its own place."""
    place = source.hub or (source.path and f"{source.path.parent.name}/{source.path.name}")
    return f"{source.name} ({place})" if place else source.name


def sample(examples: Sequence[Example], limit: int | None, seed: str) -> list[Example]:
    """Return at most `limit` examples in their order, the same ones for the same seed."""
    if limit is None or limit >= len(examples):
        return list(examples)
    chosen = random.Random(seed).sample(range(len(examples)), limit)
    return [examples[at] for at in sorted(chosen)]


def hold_out(examples: Sequence[Example], count: int, seed: int) -> set[str]:
    """Return the ids of some examples to watch the loss on; whole groups, so there may be a few more than `count`.

    What comes of one row of a dataset, or of one DROP passage, falls on one side, and so does a question that is also a
    hop of another.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(group(example), []).append(example)
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    held_out: set[str] = set()
    hops: set[str] = set()
    for name in names:
        if len(held_out) >= count:
            break
        held_out.update(example.id for example in groups[name])
        hops.update(normalise(hop) for e in groups[name] if e.recorded for hop in e.recorded.subquestions)
    if held_out:
        held_out.update(example.id for example in examples if normalise(example.question) in hops)
    return held_out


def group(example: Example) -> str:
    """Return what an example shares with all others that come of the same row (or, for DROP, of the same passage)."""
    family = example.source.removesuffix("_one_step").removesuffix("_socratic").removesuffix("_qdmr")
    row = example.id.split("/")[1]
    if passage := drop_passage(example):
        row = passage
    elif example.source in ("jsonl", "least_to_most"):
        row = example.id
    return f"{family}/{row}"


def render_counts(counts: dict[str, Counts]) -> str:
    """Return the counts as a table, a source to a line."""
    rows: dict[str, Iterable[object]] = {"source": asdict(Counts())}
    rows |= {name: asdict(row).values() for name, row in counts.items()}
    rows["total"] = map(sum, zip(astuple(Counts()), *map(astuple, counts.values()), strict=True))
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}} " + " ".join(f"{value!s:>12}" for value in row) for name, row in rows.items())


def _check(config: Config) -> None:
    if both := {describe(source) for source in config.load.held_out} & {describe(one) for one in config.load.train}:
        raise ValueError(f"load.held_out and load.train both name {', '.join(sorted(both))}. Take it out of one.")
    for source in config.load.train:
        if source.name in _EXPERIMENT_ONLY and not config.name.startswith("experiment-"):
            raise ValueError(
                f"Source {source.name!r} is a large model's output, which must not train weights that are shared, and "
                f'the config is named "{config.name}". Take the source out, or name the config "experiment-…".'
            )
    trained = {source.name for source in config.load.train}
    for source in config.load.evaluate:
        if source.split == "train" or (source.name == "least_to_most" and "least_to_most" in trained):
            raise ValueError(
                f'Source {source.name!r}, split "{source.split}", cannot evaluate: '
                + ("it trains here." if source.name in trained else "only dev and test rows do. Set its split.")
            )


def _sets_at_hand(config: Config) -> list[Source]:
    """Return the evaluation sets whose files are there; not those that an experiment trains on."""
    trained = {source.name for source in config.load.train} & {"least_to_most"}
    sets = [source for source in EVALUATION_SETS if source.name not in trained]
    return [source for source in sets if all(path.is_file() for path in _places(source))]


def _places(source: Source) -> list[Path]:
    if source.path is not None:
        return [source.path]
    return [DATA / name for name in READERS[source.name].files[source.split]]


def _evaluation_examples(sources: Iterable[Source], seed: int) -> list[Example]:
    return [*chain(*(sample([*read_source(one)], one.limit, f"{seed} {describe(one)}") for one in sources))]


def _refuse_evaluation(example: Example) -> Example:
    if example.split != "train":
        raise ValueError(
            f'{example.id} of source {example.source!r} is of the split "{example.split}" and must not train anything. '
            'Take the source out of load.train, or set its split to "train".'
        )
    return example


def _without_duplicates(examples: Iterable[Example], seen: set[str]) -> list[Example]:
    kept = []
    for example in examples:
        key = whole_text(example)
        if key not in seen:
            seen.add(key)
            kept.append(example)
    return kept


def _refuse_repeated_ids(examples: Iterable[Example]) -> None:
    seen: dict[str, Example] = {}
    for example in examples:
        if example.id in seen:
            raise ValueError(
                f"Two examples have the id {example.id!r}: {seen[example.id].question[:60]!r} and "
                f"{example.question[:60]!r}. Give each row its own id, or name each source once."
            )
        seen[example.id] = example


def _save_leaks(
    config: Config, leaks: dict[str, Leak], counts: dict[str, Counts], evaluation: Sequence[Example]
) -> None:
    checked = {example.id: example.source for example in evaluation}
    report = {
        "ngram": config.load.ngram,
        "checked_against": dict(Counter(checked.values())),
        "sources": {name: asdict(row) for name, row in counts.items()},
        "leaks": {name: leak._asdict() for name, leak in sorted(leaks.items())},
    }
    save_json(config.folder / "1-leaks.json", report)
