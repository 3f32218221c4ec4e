"""From a trained student to GGUF files that say the same, on both engines; and broken exports, which the gate stops."""

import importlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from langchain_divconq.llamacpp.engines import load_engine
from langchain_divconq.llamacpp.engines.base import EngineName, EngineSettings, Request, Token
from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.messages import chat_roles
from tests.training_tests.examples import example
from tests.training_tests.lora import train_at_random
from training.config import Config
from training.example import save_examples
from training.gguf.comparison import compare
from training.gguf.export import export
from training.gguf.merge import merge
from training.gguf.parity import Parity, ParityError, check
from training.gguf.quantise import quantise, stored_types
from training.student import tiny
from training.student.adapter import Lora, load_lora, permute_rows, write_adapter
from training.student.model import load_tokenizer, prompt_ids, render_prompt
from training.student.targets import Target, target
from training.student.tiny import Architecture, make_tiny

EXAMPLES = [
    example(
        question="A pen costs 2 dollars and a book 7. How much do 3 pens and a book cost?",
        subquestions=("How much do 3 pens cost?", "How much do 3 pens and a book cost if the pens cost #1?"),
        subanswers=("6", "13"),
        prediction="13",
        answers=("13",),
    ),
    example("own/2", "Which month comes after May?", subquestions=(), prediction="June", answers=("June",)),
]
PLANS = [target(one, "S_D-T", 3) for one in EXAMPLES]


pytestmark = pytest.mark.usefixtures("unloading")


@pytest.fixture(scope="module", autouse=True)
def _short_replies() -> Iterator[None]:
    """A random model never ends a reply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.gguf.comparison.LONGEST_PLAN", 12)
        patch.setattr("training.gguf.comparison.LONGEST_ANSWER", 12)
        yield


class Run:
    """A student with a random adapter, and all that is made of it."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        self.base = make_tiny(folder / "base.gguf", architecture)
        self.student, self.tokenizer = train_at_random(self.base, folder)
        self.lora = load_lora(folder, read_header(self.base))
        self.folder = folder

    def write(self, lora: Lora, name: str) -> dict[str, Path]:
        files = {"adapter": self.folder / f"{name}-adapter.gguf", "F16": self.folder / f"{name}-F16.gguf"}
        write_adapter(lora, files["adapter"], self.base, "F16", "Mine", {})
        merge(self.base, lora, files["F16"], "Mine")
        return files

    def compare(self, files: dict[str, Path], targets: list[Target] = PLANS) -> Parity:
        return compare(self.student, self.tokenizer, targets, self.base, files, "S_D-T")


@pytest.fixture(scope="module", params=get_args(Architecture))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run("llama", tmp_path_factory.mktemp("llama"))


def test_what_is_exported_says_what_was_trained(run: Run) -> None:
    files = run.write(run.lora, "good")
    files["Q8_0"] = run.folder / "Q8_0.gguf"
    quantise(files["F16"], files["Q8_0"], "Q8_0")
    parity = run.compare(files)
    assert check(parity) == []
    assert set(parity.other_tokens) == {"base", *files}
    found = {one.name: one for one in parity.artifacts}
    assert all(found[name].kl < 0.001 for name in ("base", "adapter", "F16"))
    assert 0 < found["F16"].kl < found["Q8_0"].kl
    assert found["base"].parse_rate is None


def test_both_engines_write_the_same_with_adapter_and_merged_model(run: Run) -> None:
    files = run.write(run.lora, "both")
    prompt = render_prompt(PLANS[0].prompt, run.tokenizer)
    asked = [
        EngineSettings(run.base, files["adapter"], n_ctx=256),
        EngineSettings(files["F16"], n_ctx=256),
        EngineSettings(run.base, n_ctx=256),
    ]
    adapted, merged, bare = ([write(settings, name, prompt) for name in get_args(EngineName)] for settings in asked)
    assert adapted[0] == adapted[1] == merged[0] == merged[1]
    assert bare[0] == bare[1] != adapted[0]


def write(settings: EngineSettings, name: EngineName, prompt: str) -> str:
    tokens: list[Token] = []

    def keep(token: Token) -> bool:
        tokens.append(token)
        return False

    load_engine(settings, name).generate(Request(prompt, max_tokens=6), keep, lambda: False)
    return "".join(token.text for token in tokens)


def test_an_adapter_in_8_bits_says_the_same(llama: Run) -> None:
    write_adapter(llama.lora, llama.folder / "q8.gguf", llama.base, "Q8_0", "Mine", {})
    parity = llama.compare({"adapter": llama.folder / "q8.gguf"})
    assert check(parity) == []
    assert parity.artifacts[-1].kl > 0


def unpermuted(lora: Lora) -> Lora:
    """As if the order of rows had been forgotten: doing it three times more undoes it for heads of 16."""
    heads = {"attn_q": 4, "attn_k": 2}

    def back(name: str, outer: Any) -> Any:
        layer = name.split(".")[2]
        for _ in range(3 if layer in heads else 0):
            outer = permute_rows(outer, heads[layer])
        return outer

    return replace(lora, pairs={name: (inner, back(name, outer)) for name, (inner, outer) in lora.pairs.items()})


def without_a_layer(lora: Lora) -> Lora:
    return replace(lora, pairs={name: pair for name, pair in lora.pairs.items() if "blk.1.ffn_down" not in name})


@pytest.mark.parametrize(
    "breaks",
    [unpermuted, without_a_layer, lambda lora: replace(lora, alpha=2 * lora.alpha)],
    ids=["rows in the order of Hugging Face", "a layer left out", "alpha doubled"],
)
def test_a_broken_export_is_stopped(llama: Run, breaks: Callable[[Lora], Lora]) -> None:
    failures = "\n".join(check(llama.compare(llama.write(breaks(llama.lora), "broken"))))
    assert re.search("^adapter export: mean KL", failures, re.MULTILINE)
    assert re.search("^merge: mean KL", failures, re.MULTILINE)
    assert "base weights" not in failures
    assert "chat template" not in failures


def test_the_step_that_broke_is_the_one_named(llama: Run) -> None:
    good, bad = llama.write(llama.lora, "good"), llama.write(replace(llama.lora, alpha=0.0), "bad")
    for name, step in (("adapter", "adapter export"), ("F16", "merge")):
        failures = check(llama.compare({**good, name: bad[name]}))
        assert failures
        assert all(failure.startswith(f"{step}: ") for failure in failures)


def test_a_base_that_is_not_the_students_is_told_from_a_bad_adapter(llama: Run) -> None:
    other = make_tiny(llama.folder / "other.gguf", seed=9)
    files = {"adapter": llama.write(llama.lora, "good")["adapter"]}
    parity = compare(llama.student, llama.tokenizer, PLANS, other, files, "S_D-T")
    assert check(parity)[0].startswith("base weights (the GGUF is not what the student was made from): mean KL")


def test_another_chat_template_is_stopped(llama: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "CHAT_TEMPLATE", tiny.CHAT_TEMPLATE.replace("'role'] + '\n'", "'role'] + ' '"))
    merge(make_tiny(llama.folder / "talks-otherwise.gguf"), llama.lora, llama.folder / "otherwise.gguf", "Mine")
    failures = check(llama.compare({"F16": llama.folder / "otherwise.gguf"}))
    assert len(failures) == 1
    assert failures[0].startswith("tokenizer or chat template of F16: 2 of 2 prompts have other token ids")


def test_a_quantisation_that_takes_too_much_is_stopped_by_name(llama: Run) -> None:
    quantise(llama.write(llama.lora, "good")["F16"], llama.folder / "Q4_0.gguf", "Q4_0")
    failures = check(llama.compare({"Q8_0": llama.folder / "Q4_0.gguf"}))
    assert failures
    assert all(failure.startswith("quantisation Q8_0: ") for failure in failures)


def test_k_quants_fall_back_where_rows_are_short(llama: Run) -> None:
    source = llama.write(llama.lora, "good")["F16"]
    for kind, types in (("Q4_K_M", {"Q5_0", "Q8_0"}), ("Q5_K_M", {"Q5_1", "Q8_0"}), ("Q4_1", {"Q4_1", "Q8_0"})):
        quantise(source, llama.folder / f"{kind}.gguf", kind)  # type: ignore[arg-type]
        assert stored_types(llama.folder / f"{kind}.gguf").keys() == types
    assert not list(llama.folder.glob("*.partial"))


def test_what_llama_cpp_cannot_quantise_is_refused(llama: Run, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("a poem")
    with pytest.raises(ValueError, match=r"llama\.cpp does not quantise .*text\.gguf to Q8_0"):
        quantise(tmp_path / "text.gguf", tmp_path / "out.gguf", "Q8_0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.gguf"]


@pytest.fixture(scope="module")
def tokenizer(gguf_path: Path) -> Any:
    """The default weights' own."""
    return load_tokenizer(str(gguf_path), gguf_path.parent)


@hypothesis_settings(max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_read_as_the_same_tokens(llama: Run, text: str) -> None:
    check_tokens(llama.base, llama.tokenizer, text)


@pytest.mark.parametrize("text", ["  15  apples in 1999's 3,200", "Hé 🙂 ½ ² ٣", "a\n\n b\t c", "<im_end> #1? #12?"])
def test_the_default_weights_read_text_as_the_same_tokens(gguf_path: Path, tokenizer: Any, text: str) -> None:
    check_tokens(gguf_path, tokenizer, text)


def check_tokens(path: Path, tokenizer: Any, text: str) -> None:
    messages = [HumanMessage(text)]
    for name in get_args(EngineName):
        engine = load_engine(EngineSettings(path, n_ctx=256), name)
        prompt = engine.render(chat_roles(messages))
        assert prompt.text == render_prompt(messages, tokenizer)
        assert engine.tokenize(prompt) == prompt_ids(messages, tokenizer)


def run_on_disk(folder: Path, role: str) -> Config:
    options = {"finetune": {"student": "tiny", "role": role}, "export": {"ladder": ["F16", "Q8_0"]}}
    config = Config.model_validate({"name": "try", "output": folder, "load": {"train": [{"name": "jsonl"}]}, **options})
    train_at_random(make_tiny(config.folder / "tiny.gguf"), config.folder / "4-student")
    training = {"settings": {"seed": 0}, "examples": 2}
    (config.folder / "4-student" / "training.json").write_text(json.dumps(training))
    save_examples(EXAMPLES, config.folder / "3-validation.jsonl")
    return config


@pytest.mark.parametrize("role", ["S_D-T", "S_E-T", "S_E-A-direct"])
def test_a_run_is_exported_as_a_whole_and_twice_the_same(tmp_path: Path, role: str) -> None:
    config = run_on_disk(tmp_path, role)
    (config.folder / "5-gguf.partial").mkdir()
    (config.folder / "5-gguf.partial" / "left-by-a-killed-run").touch()
    export(config)
    final = config.folder / "5-gguf"
    files = {path.name: path.read_bytes() for path in final.iterdir()}
    names = {"adapter.gguf", "merged-F16.gguf", "merged-Q8_0.gguf", "parity.json", "manifest.json", "README.md"}
    assert files.keys() == names
    assert not (config.folder / "5-gguf.partial").exists()
    assert json.loads(files["parity.json"])["failures"] == []
    assert json.loads(files["manifest.json"])["files"].keys() == names - {"manifest.json"}
    final.rename(config.folder / "before")
    export(config)
    assert {path.name: path.read_bytes() for path in final.iterdir()} == files


def test_a_failed_comparison_stops_the_export_and_leaves_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_on_disk(tmp_path, "S_D-T")
    monkeypatch.setattr("training.gguf.export.load_lora", lambda *given: replace(load_lora(*given), alpha=99.0))
    with pytest.raises(ParityError, match="adapter export: mean KL"):
        export(config)
    assert not (config.folder / "5-gguf").exists()
    assert json.loads((config.folder / "5-gguf.partial" / "parity.json").read_text())["failures"]


def test_the_quantiser_keeps_to_the_logger(llama: Run, capfd: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("llama_cpp")
    quantise(llama.write(llama.lora, "good")["F16"], llama.folder / "quiet.gguf", "Q8_0")
    assert capfd.readouterr() == ("", "")
