"""The files, modules and documents of the repository, for the tests of its structure."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "langchain_divconq"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


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
