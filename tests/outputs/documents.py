"""A document's blocks: Python, commands, and what they print."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from tests.repository import ROOT

DOCUMENTS = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]
"""The documents whose blocks are run."""

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w+)\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE
)
_BETWEEN = re.compile(r"```\s*```text\n")
_SECONDS = re.compile(r"\b\d+(?:\.\d+)? s\b")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: str
    line: int
    """Where its text begins."""
    language: str
    """What stands behind the fence."""
    source: str
    """Its text."""
    reason: str | None
    """Why it is not run (`<!-- not run: REASON -->` stands above it); None: it is."""
    begin: int
    end: int
    """Where its text lies in the document's."""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Step:
    """Something to run, and the place of what it prints."""

    block: Block
    """Where it stands."""
    source: str
    """Python, or one command."""
    shown: str | None = None
    """What the document says it prints; None: the document does not show it."""
    begin: int = 0
    end: int = 0
    """Where that lies in the document's text."""


def read(document: str) -> str:
    """Return a document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, text: str | None = None) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    text = read(document) if text is None else text
    return [
        Block(
            document=document,
            line=text.count("\n", 0, match.start("source")) + 1,
            language=match["language"],
            source=match["source"],
            reason=match["reason"],
            begin=match.start("source"),
            end=match.end("source"),
        )
        for match in _FENCE.finditer(text)
    ]


def python_blocks(document: str) -> list[Block]:
    """Return the blocks of Python of a document."""
    return [block for block in blocks(document) if block.language == "python"]


def steps(document: str, text: str | None = None) -> Iterator[Step]:
    """Yield what is run of a document, in order.

    A block of Python prints what stands in the block of text right below it. A command is run if something stands
    below it.
    """
    text = read(document) if text is None else text
    found = blocks(document, text)
    for block, following in zip_longest(found, found[1:]):
        if block.reason is not None:
            continue
        if block.language == "python":
            if following is not None and _BETWEEN.fullmatch(text, block.end, following.begin):
                yield Step(block, block.source, following.source, following.begin, following.end)
            else:
                yield Step(block, block.source)
        elif block.language == "console":
            yield from _commands(block)


def _commands(block: Block) -> Iterator[Step]:
    """Yield the commands of a block that show something, each with what stands below it."""
    commands = []
    at = block.begin
    for line in block.source.splitlines(keepends=True):
        at += len(line)
        if line.startswith("$ "):
            commands.append(Step(block, line[2:].strip(), "", at, at))
        elif commands:
            last = commands[-1]
            commands[-1] = Step(block, last.source, (last.shown or "") + line, last.begin, at)
    yield from (command for command in commands if command.shown)


def without_times(text: str) -> str:
    """Return a text that is the same however long something took, and whatever ends its lines."""
    return "\n".join(line.rstrip() for line in _SECONDS.sub("… s", text).strip().splitlines())
