"""Tests of the wheel, built from a copy of the tree."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import langchain_divconq
from tests.repository import ROOT, files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for path in files():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist], cwd=tree, check=True)
    (built,) = dist.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_a_wheel_that_was_built_for_one_processor_is_told_from_one_for_any(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "GGML_NATIVE=OFF" in makefile
    (check,) = re.findall(r"^define ANY_PROCESSOR\n(.*?)^endef$", makefile, re.DOTALL | re.MULTILINE)
    for said, code in ((b"CPU : AVX2 = 1 | ", 0), (b"CPU : AVX512 = 1 | AVX2 = 1", 1), (b"CPU : AMX_INT8 = 1 |", 1)):
        (tmp_path / "llama_cpp.py").write_text(f"def llama_print_system_info():\n    return {said!r}\n")
        assert subprocess.run([sys.executable, "-c", check], cwd=tmp_path).returncode == code


def test_the_wheel_brings_one_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"langchain_divconq"}


def test_the_wheel_holds_every_file_of_the_library(wheel: zipfile.ZipFile) -> None:
    assert {path.as_posix() for path in files() if path.parts[0] == "langchain_divconq"} <= set(wheel.namelist())


def test_the_licence_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_langchain_core_is_the_only_hard_dependency(metadata: Message) -> None:
    hard = [required for required in metadata.get_all("Requires-Dist", []) if "extra ==" not in required]
    assert [re.split(r"[<>=!~ ]", required)[0] for required in hard] == ["langchain-core"]


def test_each_heavy_part_is_an_extra(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras == {"agents", "hub", "llama-cpp-python", "mcp", "serve", "xllamacpp"}


def test_the_version_is_the_one_the_library_tells(metadata: Message) -> None:
    assert metadata["Version"] == langchain_divconq.__version__


def test_the_changelog_knows_the_version_or_has_it_in_preparation() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{langchain_divconq.__version__}]" in text or "## [Unreleased]" in text


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if Path(name).name == "entry_points.txt"]
    assert "divconq = langchain_divconq.cli:main" in wheel.read(name).decode()
