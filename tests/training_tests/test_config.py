"""Tests of configs: every committed one can be used, and faults in one are named."""

from pathlib import Path

import pytest

from training.config import ROOT, Config, load_toml

CONFIGS = sorted((ROOT / "training" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads(path: Path) -> None:
    config = load_toml(path, Config)
    assert {source.split for source in config.load.train} == {"train"}
    assert "train" not in {source.split for source in config.load.evaluate}


def test_no_two_configs_work_in_one_folder() -> None:
    folders = [load_toml(path, Config).folder for path in CONFIGS]
    assert len(set(folders)) == len(folders)


def test_the_smoke_config_needs_nothing_but_the_checkout() -> None:
    config = load_toml(ROOT / "training" / "configs" / "smoke.toml", Config)
    assert config.finetune.student == "tiny"
    for source in (*config.load.train, *config.load.evaluate):
        assert source.path is not None
        assert (ROOT / source.path).is_file()


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    wrong = 'name = "x"\n[load]\ntrain = []\nngram = 2\n[finetune]\nlearning_rate = inf\nrnak = 4\n'
    path.write_text(wrong, encoding="utf-8")
    said = [r"load\.ngram: .*\(got 2\)", r"finetune\.learning_rate: .*finite number", r"finetune\.rnak: .*\(got 4\)"]
    with pytest.raises(ValueError, match=".*".join(["(?s)cannot be used", *said])):
        load_toml(path, Config)


def test_what_is_no_toml_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(ValueError, match=r"wrong\.toml is no TOML"):
        load_toml(tmp_path / "wrong.toml", Config)


def test_a_folder_or_bytes_in_place_of_a_config_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"The config .* cannot be read: .*Name a TOML file in UTF-8"):
        load_toml(tmp_path, Config)
    (tmp_path / "wide.toml").write_text('name = "x"', encoding="utf-16")
    with pytest.raises(ValueError, match=r"The config .*wide\.toml cannot be read: "):
        load_toml(tmp_path / "wide.toml", Config)
