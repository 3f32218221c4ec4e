"""A run's examples: from train splits alone, without leaks or duplicates, the same for the same seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training_tests.examples import example, needs_data
from training.config import ROOT, Config, Source, load_toml
from training.data import load as module
from training.data.load import Counts, group, hold_out, load, render_counts, sample
from training.example import Example, Recorded, load_examples


@pytest.fixture(autouse=True)
def no_sets_at_hand(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "data" not in request.keywords:
        monkeypatch.setattr(module, "EVALUATION_SETS", ())


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(count: int, what: str = "mills") -> list[dict[str, Any]]:
    return [
        {"id": f"{what}{at}", "question": f"How many {what} has town {at}?", "subquestions": []} for at in range(count)
    ]


def make_config(
    folder: Path, train: list[dict[str, Any]], evaluate: list[dict[str, Any]] | None = None, **more: Any
) -> Config:
    values = {"name": "own", "output": folder, "load": {"train": train, "evaluate": evaluate or [], "validation": 0}}
    values["load"] |= more.pop("load", {})
    return Config.model_validate(values | more)


def source(path: Path, split: str = "train", **more: Any) -> dict[str, Any]:
    return {"name": "jsonl", "path": path, "split": split, **more}


def artifact(config: Config, name: str) -> list[Example]:
    return list(load_examples(config.folder / f"1-{name}.jsonl"))


def test_the_artifacts_hold_every_example_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, dev = write(tmp_path / "a.jsonl", *questions(30)), write(tmp_path / "b.jsonl", *questions(5, "ponds"))
    config = make_config(tmp_path, [source(train)], [source(dev, "dev")], load={"validation": 6})
    load(config)
    examples, validation = artifact(config, "examples"), artifact(config, "validation")
    assert len(validation) == 6
    assert {e.question for e in (*examples, *validation)} == {row["question"] for row in questions(30)}
    assert len(examples) == 24
    assert {(e.question, e.split) for e in artifact(config, "evaluation")} == {
        (row["question"], "dev") for row in questions(5, "ponds")
    }
    assert {path.name for path in config.folder.iterdir()} == {
        *("1-examples.jsonl", "1-validation.jsonl", "1-evaluation.jsonl", "1-leaks.json")
    }
    assert "total" in capsys.readouterr().out


def test_sources_that_are_held_out_train_nothing_and_what_gives_them_away_is_dropped(tmp_path: Path) -> None:
    train, apart = write(tmp_path / "a.jsonl", *questions(9)), write(tmp_path / "b.jsonl", *questions(3, "ponds"))
    twin = {**questions(2, "ponds")[1], "id": "twin"}
    leaky = write(tmp_path / "c.jsonl", twin)
    config = make_config(tmp_path, [source(train), source(leaky)], load={"held_out": [source(apart)]})
    load(config)
    assert {e.question for e in artifact(config, "validation")} == {row["question"] for row in questions(3, "ponds")}
    assert {e.question for e in artifact(config, "examples")} == {row["question"] for row in questions(9)}


def test_a_source_cannot_both_train_and_be_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *questions(3))
    config = make_config(tmp_path, [source(path)], load={"held_out": [source(path)]})
    with pytest.raises(
        ValueError, match=r"load.held_out and load.train both name jsonl .*a\.jsonl.*Take it out of one"
    ):
        load(config)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *questions(60))
    written = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        config = make_config(tmp_path, [source(path, limit=20)], name=name, seed=seed, load={"validation": 5})
        load(config)
        written.append([(config.folder / f"1-{part}.jsonl").read_bytes() for part in ("examples", "validation")])
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_what_leaks_is_dropped_and_named_by_its_id_alone(tmp_path: Path) -> None:
    rows = questions(4)
    train, dev = (
        write(tmp_path / "a.jsonl", *rows),
        write(tmp_path / "b.jsonl", {"id": "x", "question": rows[2]["question"]}),
    )
    config = make_config(tmp_path, [source(train)], [source(dev, "dev")])
    load(config)
    assert [e.id.rsplit("/", 1)[1] for e in sorted(artifact(config, "examples"), key=lambda e: e.id)] == [
        *("mills0", "mills1", "mills3")
    ]
    text = (config.folder / "1-leaks.json").read_text()
    (leak,) = json.loads(text)["leaks"].items()
    assert leak[0].endswith("/mills2")
    assert leak[1]["evaluation"].endswith("/x")
    assert leak[1]["kind"] == "question"
    assert "How many" not in text


def test_sets_at_hand_are_checked_even_if_a_config_evaluates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, at_hand = write(tmp_path / "a.jsonl", *questions(2)), write(tmp_path / "b.jsonl", *questions(1))
    absent = Source(name="jsonl", split="dev", path=tmp_path / "gone.jsonl")
    sets = (Source(name="jsonl", split="dev", path=at_hand), absent)
    monkeypatch.setattr(module, "EVALUATION_SETS", sets)
    config = make_config(tmp_path, [source(train)])
    load(config)
    assert len(artifact(config, "examples")) == 1


def test_the_first_of_two_sources_with_a_question_keeps_it(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", {"question": "Who built  it?"}, {"question": "who built it"})
    two = write(
        tmp_path / "b.jsonl", {"question": "Who built it?!"}, {"question": "Who built it?", "context": "A mill."}
    )
    config = make_config(tmp_path, [source(one), source(two)])
    load(config)
    assert sorted((e.question, e.context) for e in artifact(config, "examples")) == [
        *(("Who built  it?", None), ("Who built it?", "A mill."))
    ]
    counts = json.loads((config.folder / "1-leaks.json").read_text())["sources"].values()
    assert [(row["read"], row["duplicate"], row["kept"]) for row in counts] == [(2, 1, 1), (2, 1, 1)]


def test_an_example_that_is_not_of_a_train_split_trains_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *questions(1))
    with pytest.raises(
        ValueError, match=r"jsonl/.*mills0 of source 'jsonl' is of the split \"dev\" and must not train"
    ):
        load(make_config(tmp_path, [source(path, "dev")]))
    bamboogle = write(tmp_path / "c.jsonl", {"Question": "Who?", "Answer": "Voss"})
    with pytest.raises(ValueError, match=r"bamboogle/test-0 of source 'bamboogle' is of the split \"test\""):
        load(make_config(tmp_path, [{"name": "bamboogle", "path": bamboogle}]))


def test_a_train_split_evaluates_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *questions(1))
    with pytest.raises(ValueError, match='"train", cannot evaluate: it trains here'):
        load(make_config(tmp_path, [source(path)], [source(path)]))


def test_a_large_models_output_trains_in_an_experiment_alone_and_is_then_not_evaluated_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    outputs = write(
        folder / "some_LtM.jsonl", {"id": 1, "completion": "Q1. Who?\nVoss.\nFinal Answer: The answer is 3."}
    )
    write(folder / "questions_test.jsonl", {"id": 1, "question": "How many?", "answer": "3"})
    row = {"name": "least_to_most", "path": outputs}
    with pytest.raises(ValueError, match=r"'least_to_most' is a large model's output.*named \"own\""):
        load(make_config(tmp_path, [row]))
    with pytest.raises(ValueError, match="'least_to_most', split \"test\", cannot evaluate: it trains here"):
        load(make_config(tmp_path, [row], [row | {"split": "test"}], name="experiment-own"))
    config = make_config(tmp_path, [row], name="experiment-own")
    load(config)
    assert len(artifact(config, "examples")) == 1


def test_two_rows_with_one_id_are_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Who?"}, {"id": "a", "question": "When?"}]
    path = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(ValueError, match=r"Two examples have the id 'jsonl/.*/a': 'Who\?' and 'When\?'"):
        load(make_config(tmp_path, [source(path)]))


def with_hops(name: str, question: str, *hops: str) -> Example:
    return example(name, question, recorded=Recorded(subquestions=hops))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gsm8k_socratic/train-7", "gsm8k_one_step/train-7", True),
        ("gsm8k_socratic/train-7", "gsm8k_one_step/train-70", False),
        ("gsm8k_socratic/train-7", "musique/train-7", False),
        ("musique/train-3", "musique_one_step/train-3/2", True),
        ("strategyqa/a1", "strategyqa_one_step/a1", True),
        ("drop_qdmr/DROP_train_nfl_1_a-b", "drop_qdmr/DROP_train_nfl_1_c-d", True),
        ("drop_qdmr/DROP_train_nfl_1_a-b", "drop/nfl_1_e", True),
        ("drop_qdmr/DROP_train_nfl_1_a-b", "drop_qdmr/DROP_train_nfl_11_a-b", False),
        ("jsonl/a/b.jsonl/1", "jsonl/a/b.jsonl/2", False),
        ("least_to_most/asdiv-1", "least_to_most/multiarith-1", False),
    ],
)
def test_what_comes_of_one_row_is_one_group(one: str, other: str, same: bool) -> None:
    assert (group(example(one)) == group(example(other, "When?"))) == same


def test_a_question_of_one_step_is_held_out_with_what_it_is_a_hop_of() -> None:
    examples = [
        *(
            with_hops(f"musique/train-{at}", f"Q{at}?", f"Who built mill {at}?", "Where was #1 born?")
            for at in range(20)
        ),
        *(example(f"musique_one_step/train-{at}/1", f"Who built mill {at}?") for at in range(20)),
        *(example(f"musique_one_step/train-{at}/1", f"Who built  mill {at % 20}") for at in range(40, 60)),
    ]
    for seed in range(20):
        held_out = hold_out(examples, 9, seed)
        assert 9 <= len(held_out) < len(examples)
        hops = {
            e.recorded.subquestions[0] for e in examples if e.id in held_out and e.recorded and e.recorded.subquestions
        }
        assert not [e for e in examples if e.question in hops and e.id not in held_out]


def test_nothing_is_held_out_of_nothing_or_if_nothing_is_wanted() -> None:
    assert hold_out([], 5, 1) == set()
    assert hold_out([example("own/1", "Who?")], 0, 1) == set()


def test_a_sample_keeps_the_order_and_the_limit() -> None:
    examples = [example(f"own/{at}", f"Q{at}?") for at in range(50)]
    chosen = sample(examples, 10, "seed")
    assert chosen == sorted(chosen, key=examples.index)
    assert len(chosen) == 10
    assert sample(examples, None, "seed") == sample(examples, 50, "seed") == examples


def test_the_counts_add_up_in_the_table() -> None:
    rows = {
        "gsm8k": Counts(read=9, duplicate=1, leaked=2, beyond_limit=3, held_out=1, kept=2),
        "own (a/b)": Counts(read=1, kept=1),
    }
    lines = render_counts(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["source", "gsm8k", "own", "total"]
    assert lines[-1].split()[1:] == ["10", "1", "2", "3", "1", "3"]


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_shipped_weights_are_trained_on_permissive_train_splits_alone(size: str) -> None:
    config = load_toml(ROOT / "training" / "configs" / f"{size}.toml", Config)
    permissive = {"gsm8k_socratic", "strategyqa", "musique", "drop_qdmr", "wiki2", "arithmetic", "everyday"}
    for trained in config.load.train:
        assert trained.name.removesuffix("_one_step").replace("gsm8k", "gsm8k_socratic").startswith(tuple(permissive))
        assert (trained.split, trained.path, trained.hub) == ("train", None, None)


@pytest.mark.parametrize(
    ("of_one", "of_other", "roles"),
    [("s_d_t", "s_e_t", ("S_D-T", "S_E-T")), ("screening_none", "screening", ("S_D-T", "S_D-R"))],
)
def test_twins_differ_in_role_and_screening_alone(of_one: str, of_other: str, roles: tuple[str, str]) -> None:
    one, other = (load_toml(ROOT / "training" / "configs" / f"{name}.toml", Config) for name in (of_one, of_other))
    assert (one.finetune.role, other.finetune.role) == roles
    same = {"name": "own", "finetune": one.finetune, "screen": one.screen}
    assert one.model_copy(update=same) == other.model_copy(update=same)


@needs_data
@pytest.mark.parametrize("name", ["screening"])
def test_a_config_loads_what_is_at_hand(name: str, tmp_path: Path) -> None:
    config = load_toml(ROOT / "training" / "configs" / f"{name}.toml", Config).model_copy(update={"output": tmp_path})
    load(config)
    assert len(artifact(config, "validation")) >= config.load.validation
    assert {e.split for e in artifact(config, "examples")} == {"train"}
    assert "train" not in {e.split for e in artifact(config, "evaluation")}
