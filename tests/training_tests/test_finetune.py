"""Fine-tuning, on a tiny model made on the spot."""

import json
from pathlib import Path
from typing import Any

import pytest

from langchain_divconq import Question
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from langchain_divconq.prompts import decomposition_prompt
from tests.training_tests import examples
from tests.training_tests.lora import at_random
from training.config import Config, Finetune, Load, Repeat
from training.example import Example, save_examples

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from training.student import finetune as stage  # noqa: E402
from training.student.adapter import load_lora, write_adapter  # noqa: E402  # all of these need torch
from training.student.batches import Sequenced, batched, collate, completion_tokens  # noqa: E402
from training.student.log import TrainingLog  # noqa: E402
from training.student.model import load_student  # noqa: E402
from training.student.targets import Target, target  # noqa: E402

THINGS = ("pens", "rolls", "cups", "tickets", "stamps", "bricks", "pears", "maps")


def example(number: int) -> Example:
    thing = THINGS[number % len(THINGS)]
    plan = (f"How many {thing} does Mia have in {number + 2} boxes of {number + 5}?",) if number % 4 else ()
    question = f"Mia has {number + 2} boxes of {number + 5} {thing} and gives away 7. How many are left?"
    return examples.example(f"own/{number}", question, source="jsonl", subquestions=plan)


def config(folder: Path, **finetune: Any) -> Config:
    options = {"student": "tiny", "rank": 4, "dropout": 0.1, "learning_rate": 0.01, "dtype": "float32"}
    options |= {"batch_tokens": 600, "accumulate": 2, "epochs": 2, "parse_prompts": 0}
    options |= {"evaluate_every": 3, "checkpoint_every": 2, **finetune}
    return Config(name="t", seed=3, output=folder, load=Load(train=()), finetune=Finetune.model_validate(options))


def prepare(folder: Path, **finetune: Any) -> Config:
    """A run's folder as the stages before leave it."""
    made = config(folder, **finetune)
    save_examples(map(example, range(16)), made.folder / "3-screened.jsonl")
    save_examples(map(example, range(100, 104)), made.folder / "3-validation.jsonl")
    return made


def metrics(made: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / "4-student" / "metrics.jsonl").read_text().splitlines()]


def adapter(made: Config) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(made.folder / "4-student" / "adapter_model.safetensors")


def test_the_loss_is_the_mean_over_the_completions_tokens_as_transformers_computes_it(tmp_path: Path) -> None:
    model, tokenizer = load_student("tiny", tmp_path, "float32")
    student = stage.add_lora(model, Finetune(rank=4))
    at_random(student, std=0.1)
    batch = [stage.encode(target(example(number), "S_D-T", 3), tokenizer) for number in range(5)]
    ids, labels = collate(batch, padding=0)
    student.eval()
    with torch.no_grad():
        ours = stage.completion_loss(student)(ids, labels) / completion_tokens(batch)
    lengths = torch.tensor([len(one.ids) for one in batch])
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    with torch.no_grad():
        theirs = student(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_a_run_leaves_an_adapter_its_metrics_and_a_plot(tmp_path: Path) -> None:
    made = prepare(tmp_path, parse_prompts=1)
    stage.finetune(made)
    folder = made.folder / "4-student"
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "loss.png", "training.json"}
    told = metrics(made)
    steps = list(range(1, len(told) + 1))
    assert [record["step"] for record in told] == steps
    judged = [step for step in steps if step % 3 == 0 or step == len(told)]
    assert [record["step"] for record in told if "parse_rate" in record] == judged
    assert told[-1]["held_out_loss"] < told[0]["loss"]
    summary = json.loads((folder / "training.json").read_text())
    assert summary["examples"] == 16
    assert summary["tokens"] == sum(record["tokens"] for record in told)
    assert summary["held_out_loss"] == told[-1]["held_out_loss"]
    assert any(bool(value.any()) for name, value in adapter(made).items() if "lora_B" in name)


@pytest.mark.parametrize("last", [1, 3, 4])
def test_a_run_that_was_cut_off_resumes_to_the_identical_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    whole, broken = prepare(tmp_path / "whole"), prepare(tmp_path / "broken")
    stage.finetune(whole)
    add = TrainingLog.add

    def add_until(self: TrainingLog, record: dict[str, Any]) -> None:
        add(self, record)
        if record["step"] == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingLog, "add", add_until)
        with pytest.raises(KeyboardInterrupt):
            stage.finetune(broken)
    assert not (broken.folder / "4-student").exists()
    stage.finetune(broken)
    ours, theirs = adapter(broken), adapter(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    whole_curve, broken_curve = ([{**record, "seconds": 0} for record in metrics(made)] for made in (whole, broken))
    assert whole_curve == broken_curve


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingLog, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.finetune(made)
    with pytest.raises(ValueError, match=r"steps in .* were made under other settings: learning_rate was"):
        stage.finetune(config(tmp_path, learning_rate=0.02))


def test_what_is_rare_may_be_shown_several_times() -> None:
    given = [example(n) for n in range(4)]  # the first has no subquestions
    repeats = [Repeat(source="jsonl", subquestions=1, times=3), Repeat(source="jsonl", times=5, subquestions=0)]
    assert [one.id for one in stage.repeated(given, repeats[:1])] == ["own/0"] + [
        f"own/{n}" for n in (1, 2, 3) for _ in range(3)
    ]
    assert [one.id for one in stage.repeated(given[:2], repeats)] == ["own/0"] * 5 + ["own/1"] * 3
    assert list(stage.repeated(given, [Repeat(source="musique", times=2)])) == given


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves nothing to train on"):
        stage.finetune(prepare(tmp_path, max_tokens=5))


def test_labels_that_are_not_the_completion_stop_the_run(tmp_path: Path) -> None:
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    taught = target(example(1), "S_D-T", 3)
    right = stage.encode(taught, tokenizer)
    stage.check_labels([right], [taught], tokenizer, 0)
    for wrong in (
        Sequenced(right.id, right.ids, right.prompt + 1),
        Sequenced(right.id, right.ids, right.prompt - 1),
        Sequenced(right.id, right.ids[:-1], right.prompt),
        Sequenced(right.id, right.ids[: right.prompt - 9] + right.ids[right.prompt :], right.prompt - 9),
    ):
        with pytest.raises(ValueError, match="The labels of own/1 are not its completion"):
            stage.check_labels([wrong], [taught], tokenizer, 0)


def test_the_prompt_of_a_sequence_is_the_prompt_of_inference(tmp_path: Path) -> None:
    _, tokenizer = load_student("tiny", tmp_path, "float32")
    asked = decomposition_prompt(Question(text="Who paid?", context="Ana paid."), 3, "student")
    sequence = stage.encode(Target("own/1", tuple(asked), "1. Who?"), tokenizer)
    rendered = tokenizer.decode(list(sequence.ids[: sequence.prompt]))
    assert "Split the question into at most 3 simpler subquestions." in rendered
    assert "Context: Ana paid.\n\nQuestion: Who paid?" in rendered


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [stage.learning_rate(step, 100, Finetune(learning_rate=1.0, warmup=0.1)) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0)


def test_each_process_has_a_batch_in_every_step() -> None:
    given = [Sequenced(str(n), tuple(range(20)), 5) for n in range(50)]
    made = Config(name="t", load=Load(train=()), finetune=Finetune(batch_tokens=100, accumulate=2, epochs=2))
    assert sum(map(len, stage.steps(given, made, processes=1))) == 2 * len(batched(given, 100, seed=0))
    assert {len(group) for group in stage.steps(given, made, processes=2)} == {4}
    with pytest.raises(ValueError, match="too few batches for 8 processes"):
        stage.steps(given, made, processes=8)


def as_gguf(made: Config, path: Path) -> Path:
    base = made.folder / "tiny.gguf"
    write_adapter(load_lora(made.folder / "4-student", read_header(base)), path, base, "F32", "First", {})
    return path


def test_a_run_goes_on_from_another_runs_adapter_of_its_rank(tmp_path: Path) -> None:
    first = prepare(tmp_path / "first")
    stage.finetune(first)
    start = as_gguf(first, tmp_path / "start.gguf")
    second = prepare(tmp_path / "second", start=start)
    stage.finetune(second)
    assert metrics(second)[0]["loss"] < 0.9 * metrics(first)[0]["loss"]
    settings = json.loads((second.folder / "4-student" / "training.json").read_text())["settings"]
    assert settings["start"] == fingerprint(start)
    with pytest.raises(ValueError, match="of another model or rank"):
        stage.finetune(prepare(tmp_path / "third", start=start, rank=8))


def test_a_run_of_no_epochs_leaves_the_adapter_that_it_starts_from(tmp_path: Path) -> None:
    first = prepare(tmp_path / "first")
    stage.finetune(first)
    second = prepare(tmp_path / "second", start=as_gguf(first, tmp_path / "start.gguf"), epochs=0)
    stage.finetune(second)
    before, after = adapter(first), adapter(second)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(ValueError, match=r"finetune\.start names no adapter"):
        stage.finetune(prepare(tmp_path / "third", epochs=0))


def test_a_student_whose_adapter_is_off_is_what_it_was(tmp_path: Path) -> None:
    model, _ = load_student("tiny", tmp_path, "float32")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        before = model(ids).logits
    student = stage.add_lora(model, Finetune(rank=4))
    at_random(student, std=0.1)
    with torch.no_grad(), student.disable_adapter():
        torch.testing.assert_close(student(ids).logits, before)
    with torch.no_grad():
        assert not torch.allclose(student(ids).logits, before)
