"""Datasets, from local files or the Hugging Face hub, as Examples. One reader to a source's name."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from training.config import Source, SourceName
from training.data.sources import (
    arithmetic,
    drop,
    everyday,
    gsm8k,
    musique,
    plain,
    recorded_teacher,
    strategyqa,
    two_hop,
    wiki2,
)
from training.data.sources.rows import Files, Row, find_files, read_rows
from training.example import Example, Split


class Reader(NamedTuple):
    """How a source is read."""

    examples: Callable[[Iterable[Row], str, Split], Iterator[Example]]
    """From rows, the source's name and the split to Examples: the same for files and the hub."""
    files: Files
    """Where the rows lie by default, for each split."""


READERS: dict[SourceName, Reader] = {
    "gsm8k": Reader(gsm8k.main, gsm8k.MAIN),
    "gsm8k_socratic": Reader(gsm8k.socratic, gsm8k.SOCRATIC),
    "gsm8k_one_step": Reader(gsm8k.one_step, gsm8k.SOCRATIC),
    "gsm8k_chatgpt": Reader(recorded_teacher.chatgpt, recorded_teacher.CHATGPT_FILES),
    "drop": Reader(drop.drop, drop.FILES),
    "drop_qdmr": Reader(drop.qdmr, drop.QDMR_FILES),
    "bamboogle": Reader(two_hop.bamboogle, two_hop.BAMBOOGLE),
    "strategyqa": Reader(strategyqa.strategyqa, strategyqa.FILES),
    "strategyqa_one_step": Reader(strategyqa.one_step, strategyqa.FILES),
    "musique": Reader(musique.musique, musique.FILES),
    "musique_one_step": Reader(musique.one_step, musique.FILES),
    "musique_silver": Reader(musique.silver, musique.SILVER),
    "musique_composed": Reader(musique.composed, musique.COMPOSED),
    "everyday": Reader(everyday.everyday, everyday.FILES),
    "everyday_more": Reader(everyday.everyday, everyday.MORE),
    "everyday_third": Reader(everyday.everyday, everyday.THIRD),
    "everyday_held_out": Reader(everyday.everyday, everyday.HELD_OUT),
    "everyday_languages": Reader(everyday.everyday, everyday.LANGUAGES),
    "wiki2": Reader(wiki2.wiki2, wiki2.FILES),
    "wiki2_one_step": Reader(wiki2.one_step, wiki2.FILES),
    "hotpotqa": Reader(two_hop.hotpotqa, two_hop.HOTPOTQA),
}


def read_source(source: Source) -> Iterator[Example]:
    """Yield a source's examples in its own order, all of them: a limit is for `load` to apply.

    Raises:
        ValueError: It cannot be read (see `rows.read_rows`), or a row is malformed.
    """
    if source.name in READERS:
        reader = READERS[source.name]
        yield from reader.examples(read_rows(source, reader.files), source.name, source.split)
    elif source.name == "arithmetic_one_step":
        yield from arithmetic.one_step(source.name, source.split)
    elif source.name == "jsonl":
        place = source.hub or str(source.path)
        yield from plain.plain(read_rows(source, {}), source.name, source.split, place)
    else:
        (path,) = find_files(source, {})
        yield from recorded_teacher.least_to_most(read_rows(source, {}), source.name, source.split, path)
