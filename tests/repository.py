"""What the tests of the house need to know of the repository: its files, its modules and its documents."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "langchain_divconq"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```python\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE
)


def files() -> list[Path]:
    """Return the repository's files, relative to its root: the committed ones and those about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(path for path in map(Path, listing.splitlines()) if (ROOT / path).is_file())


def python_files(folder: str) -> list[Path]:
    return [path for path in files() if path.parts[0] == folder and path.suffix == ".py"]


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield every module named in an import under a node, wherever it stands; `from a import b` names `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative imports are not used here"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@dataclass(frozen=True)
class Block:
    """A Python block of a document; `reason`: why it is not executed (`<!-- not run: REASON -->` stands above it)."""

    document: str
    line: int
    source: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def python_blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, match.start("source")) + 1, match["source"], match["reason"])
        for match in _FENCE.finditer(text)
    ]
