import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_divconq.errors import (
    AdapterMismatchError,
    EngineNotInstalledError,
    InvalidWeightsError,
    WeightsNotFoundError,
)
from langchain_divconq.llamacpp import engines
from langchain_divconq.llamacpp.engines import default_threads, load_engine, physical_cores, unload_engines
from langchain_divconq.llamacpp.engines.base import EngineName, EngineSettings
from langchain_divconq.llamacpp.engines.turn import Turn
from tests.gguf_writer import write_adapter, write_model
from tests.unit_tests.fake_engine import FakeEngine


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[EngineName, EngineSettings]]]:
    """What was loaded, in order; loading takes a moment and gives a fake."""
    made: list[tuple[EngineName, EngineSettings]] = []

    def create(settings: EngineSettings, name: EngineName, *, plain: bool) -> FakeEngine:
        made.append((name, settings))
        time.sleep(0.02)
        return FakeEngine([])

    monkeypatch.setattr(engines, "create_engine", create)
    monkeypatch.setattr(engines, "pass_trial", lambda *_: False)
    monkeypatch.setattr(engines, "_engines", {})
    monkeypatch.setattr(engines, "find_spec", lambda module: module)
    yield made
    unload_engines()


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    return EngineSettings(write_model(tmp_path / "m.gguf"))


Loaded = list[tuple[EngineName, EngineSettings]]


def test_equal_settings_share_one_engine_and_different_ones_do_not(loaded: Loaded, settings: EngineSettings) -> None:
    first = load_engine(settings)
    assert load_engine(replace(settings)) is first
    assert load_engine(replace(settings, n_ctx=128)) is not first
    assert load_engine(settings, "xllamacpp") is not first
    assert [name for name, _ in loaded] == ["llama-cpp-python", "llama-cpp-python", "xllamacpp"]


def test_threads_that_ask_at_once_load_once(loaded: Loaded, settings: EngineSettings) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = {id(engine) for engine in pool.map(lambda _: load_engine(settings), range(16))}
    assert len(found) == len(loaded) == 1


def test_weights_are_told_apart_by_what_is_in_them(loaded: Loaded, settings: EngineSettings, tmp_path: Path) -> None:
    first = load_engine(settings)
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(settings.model_path.read_bytes())
    assert load_engine(replace(settings, model_path=copy)) is first
    write_model(settings.model_path, width=16)
    assert load_engine(settings) is not first


def test_an_adapter_makes_another_engine(loaded: Loaded, settings: EngineSettings, tmp_path: Path) -> None:
    adapted = replace(settings, adapter_path=write_adapter(tmp_path / "a.gguf"))
    assert load_engine(adapted) is not load_engine(settings)
    assert loaded[0][1] == adapted


def test_files_are_checked_before_an_engine_sees_them(loaded: Loaded, settings: EngineSettings, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(settings.model_path.read_bytes()[:-8])
    adapter = write_adapter(tmp_path / "a.gguf", architecture="gemma")
    for path, error in ((broken, InvalidWeightsError), (tmp_path / "no.gguf", WeightsNotFoundError)):
        with pytest.raises(error, match=path.name):
            load_engine(replace(settings, model_path=path))
    with pytest.raises(AdapterMismatchError, match="'gemma'"):
        load_engine(replace(settings, adapter_path=adapter))
    with pytest.raises(InvalidWeightsError, match="Pass it as adapter_path"):
        load_engine(replace(settings, model_path=adapter))
    assert loaded == []


def test_unloading_closes_what_was_loaded_and_the_next_call_loads_anew(
    loaded: Loaded, settings: EngineSettings
) -> None:
    first = load_engine(settings)
    unload_engines()
    assert isinstance(first, FakeEngine)
    assert first.closed
    assert load_engine(settings) is not first


def test_without_an_engine_both_commands_are_named(
    loaded: Loaded, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    with pytest.raises(EngineNotInstalledError, match=r"No llama\.cpp engine is installed") as caught:
        load_engine(settings)
    for command in ("langchain-divconq[llama-cpp-python]", "langchain-divconq[xllamacpp]", "neither engine"):
        assert command in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_an_engine_that_is_asked_for_and_missing_is_named_with_what_is_there(
    loaded: Loaded, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda module: module if module == "xllamacpp" else None)
    with pytest.raises(EngineNotInstalledError, match=r"llama-cpp-python is not installed.*Installed: xllamacpp"):
        load_engine(settings, "llama-cpp-python")
    load_engine(settings)
    assert loaded[0][0] == "xllamacpp"
    with pytest.raises(EngineNotInstalledError, match="no engine 'vllm'"):
        load_engine(settings, "vllm")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_with_nothing_loaded_and_frees_nothing(
    loaded: Loaded, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hook is called as it is in the child: a real fork of a process with threads warns on new Pythons.
    monkeypatch.setattr(engines, "_abandoned", [])
    monkeypatch.setattr(engines, "_leave_without_cpp", lambda: None)
    first = load_engine(settings)
    engines._forget_after_fork()
    assert load_engine(settings) is not first
    assert isinstance(first, FakeEngine)
    assert not first.closed
    assert engines._abandoned == [first]


def test_there_is_at_least_one_core_and_no_more_than_threads() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert 1 <= default_threads() <= physical_cores()


def test_a_turn_is_given_to_one_at_a_time() -> None:
    turn, inside, most = Turn(), 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with turn.taken() as held:
            assert held
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(32)))
    assert most == 1


def test_a_waiter_that_gives_up_holds_nothing() -> None:
    turn = Turn()
    with turn.taken() as first:
        assert first
        with turn.taken(lambda: True) as second:
            assert not second
    with turn.taken(lambda: True) as third:
        assert third
