"""The shape of the repository, as CONTRIBUTING.md draws it."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.repository import EXAMPLES, LIBRARY, ROOT, files, imported_modules, module_name, python_files

MOST_LINES = 400
MOST_FUNCTION_LINES = 40  # its docstring not counted
MOST_EXAMPLE_LINES = 40
MOST_ADAPTER_BYTES = 20_000_000

# Each layer may import from itself and from those above it. A package counts as one; of llamacpp, each of its parts.
LAYERS = [
    {"_version", "errors", "files", "usage", "words", "unwrap"},
    {"llamacpp", "llamacpp.engines"},
    {"llamacpp.weights", "llamacpp.messages", "llamacpp.structured", "llamacpp.chat_models"},
    {"types"},
    {"excerpts", "prompts", "grammar", "languages", "statements", "orders", "guard", "checks", "plans", "answers"}
    | {"calls", "limits", "budget", "runnable", "tool_errors"},
    {"students", "confidence", "drafts", "decomposer", "asking", "subsolvers", "solver"},
    {"chain"},
    {"retrieval", "agents"},
    {"cli"},
]
# The same for the wings of the recipe.
WINGS = [
    {"config", "scoring", "store"},
    {"example"},
    {"data"},
    {"teach"},
    {"student"},
    {"measure"},
    {"prefer", "gguf"},
    {"pipeline"},
    {"__main__"},
]
HARD_DEPENDENCIES = {"langchain_core", "pydantic", "typing_extensions"}  # langchain-core brings the other two
# Imported by nothing else until they are asked for, so their dependency may stand at the top.
LAZY_MODULES = {
    "langchain_divconq.llamacpp.engines._sampling",
    "langchain_divconq.llamacpp.engines._beams",
    "langchain_divconq.llamacpp.engines.llama_cpp",
    "langchain_divconq.llamacpp.engines.xllamacpp",
    "langchain_divconq.agents.graph",
    "langchain_divconq.agents.middleware",
}
TEST_FOLDERS = {"unit_tests", "training_tests", "integration_tests", "benchmarks", "campaigns"}

MODULES = python_files("langchain_divconq")
TRAINING = python_files("training")
TESTS = python_files("tests")
ROOT_PACKAGE = Path("langchain_divconq/__init__.py")  # gathers the public names from everywhere


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def layer(module: str, layers: list[set[str]] = LAYERS) -> int:
    parts = module.split(".")
    for part in (".".join(parts[1:3]), parts[1]):
        for number, names in enumerate(layers):
            if part in names:
                return number
    raise AssertionError(f"{module} has no layer: give it one here and in CONTRIBUTING.md.")


def library_imports(path: Path) -> set[str]:
    """The library's modules that one of them imports, at the top or inside a function."""
    known = {module_name(module) for module in MODULES}
    return {name for name in imported_modules(parse(path)) if name in known} - {module_name(path)}


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines, its docstring not counted."""
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function) is not None:
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", [*MODULES, *TRAINING, *TESTS], ids=str)
def test_a_module_and_each_of_its_functions_is_short_enough_to_read_at_once(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{path} has {lines} lines: divide it."
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {one.name: length for one in functions if (length := _length(one)) > MOST_FUNCTION_LINES}
    assert long == {}, f"{path}: a function has at most {MOST_FUNCTION_LINES} lines, its docstring not counted."


@pytest.mark.parametrize("path", [path for path in MODULES if path != ROOT_PACKAGE], ids=str)
def test_imports_inside_the_library_point_one_way(path: Path) -> None:
    here = layer(module_name(path))
    imported = library_imports(path)
    assert "langchain_divconq" not in imported, f"{path}: import from a module, not from the package."
    upward = sorted(name for name in imported if layer(name) > here)
    assert not upward, f"{path} imports {upward}, which stand above it."


@pytest.mark.parametrize("path", [path for path in TRAINING if path != Path("training/__init__.py")], ids=str)
def test_the_wings_of_the_recipe_import_one_way(path: Path) -> None:
    here = layer(module_name(path), WINGS)
    known = {module_name(module) for module in TRAINING} - {"training"}
    imported = {name for name in imported_modules(parse(path)) if name in known}
    upward = sorted(name for name in imported if layer(name, WINGS) > here)
    assert not upward, f"{path} imports {upward}, which stand above it."


def test_no_two_modules_of_the_library_import_each_other() -> None:
    graph = {module_name(path): library_imports(path) for path in MODULES if path != ROOT_PACKAGE}
    list(TopologicalSorter(graph).static_order())


def _top_level_imports(tree: ast.Module) -> Iterator[str]:
    """Yield what is imported when the module is: not in functions, not for type checkers alone."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from imported_modules(node)


@pytest.mark.parametrize("path", [path for path in MODULES if module_name(path) not in LAZY_MODULES], ids=str)
def test_only_the_hard_dependencies_are_imported_at_the_top(path: Path) -> None:
    packages = {name.partition(".")[0] for name in _top_level_imports(parse(path))}
    assert packages <= HARD_DEPENDENCIES | sys.stdlib_module_names | {"langchain_divconq"}


def test_the_lazy_modules_are_imported_inside_functions_only() -> None:
    for path in MODULES:
        if module_name(path) not in LAZY_MODULES:
            assert LAZY_MODULES.isdisjoint(_top_level_imports(parse(path))), path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_library_knows_nothing_of_training_or_tests(path: Path) -> None:
    packages = {name.partition(".")[0] for name in imported_modules(parse(path))}
    assert packages.isdisjoint({"training", "tests", "examples"})


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(rb"(?<![\w.~<-])/(?:root|work|home|Users|opt|mnt|scratch)/\w")
    named = {path: place.findall((ROOT / path).read_bytes()) for path in files() if path.suffix != ".gguf"}
    assert {path: found for path, found in named.items() if found} == {}


def test_tests_stand_in_the_folder_of_their_kind() -> None:
    for path in python_files("tests"):
        functions = [
            node for node in ast.walk(parse(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        tests = [function for function in functions if function.name.startswith("test_")]
        if not tests:
            continue
        assert path.name.startswith("test_"), f"{path} has tests that pytest does not collect."
        assert path.parts[1] in TEST_FOLDERS, f"{path} belongs in one of {sorted(TEST_FOLDERS)}."
        if path.parts[1] == "unit_tests":
            arguments = {argument.arg for function in functions for argument in function.args.args}
            assert arguments.isdisjoint({"gguf_path", "engine_name"}), f"{path} needs a model: an integration test."


def test_no_folder_of_tests_shadows_the_training_package() -> None:
    assert [path for path in python_files("tests") if "training" in path.parts] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_EXAMPLE_LINES


def test_at_most_two_adapters_are_shipped_each_small_and_with_its_model_card() -> None:
    adapters = list((LIBRARY / "adapters").glob("*.gguf"))
    assert len(adapters) <= 2
    for adapter in adapters:
        assert adapter.stat().st_size < MOST_ADAPTER_BYTES
        assert adapter.with_suffix(".md").is_file()


def _drawn() -> set[str]:
    """The paths in CONTRIBUTING.md's tree; folders end with a slash."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    match = re.search(r"^## Layout\n.*?^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert match is not None, "CONTRIBUTING.md has no tree under '## Layout'."
    paths, folders = set(), [""]
    for line in match[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        path = folders[depth] + name
        paths.add(path)
        if name.endswith("/"):
            folders[depth + 1 :] = [path]
    return paths


def test_the_tree_in_contributing_shows_what_is_there() -> None:
    drawn, tracked = _drawn(), files()
    folders = {f"{parent.as_posix()}/" for path in tracked for parent in path.parents if parent != Path()}
    missing = {path for path in drawn if path not in folders and Path(path) not in tracked}
    assert missing == set(), "drawn, but not there"
    modules = {path.as_posix() for path in [*MODULES, *TRAINING] if path.name != "__init__.py"}
    shown = {folder for folder in folders if folder.count("/") <= 2 and not folder.startswith(".")}
    assert (modules | shown) - drawn == set(), "there, but not drawn"
