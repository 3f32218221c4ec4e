"""The config of a run: a TOML file, checked as a whole before anything runs. Every field is explained here."""

import tomllib
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from training.store import Frozen

Settings = TypeVar("Settings", bound=BaseModel)

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
"""Where datasets lie by default: a folder beside the checkout (see CONTRIBUTING.md)."""

SourceName: TypeAlias = Literal[
    "gsm8k",
    "gsm8k_socratic",
    "gsm8k_one_step",
    "gsm8k_chatgpt",
    "drop",
    "drop_qdmr",
    "bamboogle",
    "strategyqa",
    "strategyqa_one_step",
    "musique",
    "musique_one_step",
    "musique_silver",
    "musique_composed",
    "everyday",
    "everyday_more",
    "everyday_third",
    "everyday_held_out",
    "everyday_languages",
    "wiki2",
    "wiki2_one_step",
    "hotpotqa",
    "arithmetic_one_step",
    "least_to_most",
    "jsonl",
]
Role: TypeAlias = Literal["S_D-T", "S_D-R", "S_E-T", "S_E-A", "S_E-T-direct", "S_E-A-direct"]
Quantisation: TypeAlias = Literal["F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_1", "Q4_0"]


class Source(Frozen):
    """Some rows of one dataset."""

    name: SourceName
    """Which reader."""
    split: Literal["train", "dev", "test"] = "train"
    """Which split: "train" trains, "dev" and "test" evaluate."""
    path: Path | None = None
    """File or folder; None: the dataset's own place under the data folder. A relative path counts from the checkout's
    root."""
    hub: str | None = None
    """A dataset on the Hugging Face hub ("openai/gsm8k"), read through `datasets` instead of from files."""
    hub_config: str | None = None
    """The hub dataset's configuration ("socratic"), where it has several."""
    limit: int | None = Field(default=None, gt=0)
    """Most rows, chosen by the run's seed; None: all."""


class Load(Frozen):
    """Which datasets a run reads, and which it is measured on."""

    train: tuple[Source, ...]
    """What the student learns from, mixed."""
    evaluate: tuple[Source, ...] = ()
    """What it is evaluated on. All of it, and every evaluation set at hand, is checked for leaks."""
    validation: int = Field(default=200, ge=0)
    """So many of the training examples are held out, to watch the loss and to fit the confidence on."""
    held_out: tuple[Source, ...] = ()
    """What is held out besides: all of these sources, from which no student learns."""
    ngram: int = Field(default=13, ge=5)
    """Two texts that share a run of so many words count as the same question."""


class Demonstrate(Frozen):
    """Who writes the plans that the student learns from."""

    teacher: str = "recorded"
    """"recorded" (what the datasets record), "gguf:PATH" (a local model), or a chat model's name as `init_chat_model`
    takes it ("openai:gpt-5-mini")."""
    max_subquestions: int = Field(default=3, ge=1, le=9)
    """The cap the teacher is told, and the greatest that the student is."""
    long_plans: Literal["drop", "first", "last"] = "last"
    """What becomes of a recorded plan beyond the cap: it is dropped, or keeps its first or last subquestions."""
    concurrency: int = Field(default=4, ge=1)
    """Most requests to the teacher at once."""
    attempts: int = Field(default=4, ge=1)
    """Most attempts at one request, with back-off between them."""
    dollars_per_million_input: float = Field(default=0, ge=0)
    dollars_per_million_output: float = Field(default=0, ge=0)
    """The teacher's prices, for the preview."""


class Screen(Frozen):
    """Who tells whether a plan leads to the gold answer."""

    solver: str = "recorded"
    """"recorded", "gguf:PATH" or a chat model's name, as for the teacher. Only S_D-R and the solvers' roles are
    screened."""
    concurrency: int = Field(default=4, ge=1)
    """Most requests to the solver at once."""
    attempts: int = Field(default=4, ge=1)
    """Most attempts at one request, with back-off between them."""


class Repeat(Frozen):
    """Some training examples that an epoch shows several times, since their kind is rare."""

    source: SourceName
    """Of which source."""
    subquestions: int = Field(default=1, ge=0)
    """With so many subquestions at least."""
    times: int = Field(gt=0)
    """How often each is shown."""


class Finetune(Frozen):
    """The student, and how its adapter is trained."""

    student: str = "bundled"
    """"bundled" (the library's default GGUF), "tiny" (a random model made on the spot, for tests), a path to a GGUF
    (dequantised), or a hub checkpoint."""
    role: Role = "S_D-T"
    """What is distilled (PAPER: S_D-T, S_D-R decompose; S_E-T, S_E-A solve; "-direct" without subanswers)."""
    start: Path | None = None
    """The GGUF of an adapter that the run goes on from; a relative path counts from the checkout's root. None: a fresh
    adapter."""
    keep: float = Field(default=0.0, ge=0, lt=1)
    """How much of that adapter counts in the end: the two are averaged."""
    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The LoRA's rank, alpha and dropout; it lies on all linear layers of the blocks."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak, after a linear warm-up over `warmup` of the steps; then down to zero along a cosine."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of the steps in which the learning rate rises."""
    epochs: int = Field(default=1, ge=0)
    """Passes over the training examples. 0: none, the adapter is that of `start`."""
    repeat: tuple[Repeat, ...] = ()
    """Which of them a pass shows several times."""
    batch_tokens: int = Field(default=2048, gt=0)
    """Most tokens in a batch, padding included."""
    accumulate: int = Field(default=1, gt=0)
    """Batches to a step of the optimiser."""
    max_tokens: int = Field(default=512, gt=0)
    """Longer examples are left out, and counted."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the frozen weights and the arithmetic; the adapter itself is always float32."""
    evaluate_every: int = Field(default=50, gt=0)
    checkpoint_every: int = Field(default=50, gt=0)
    """Both in steps of the optimiser."""
    parse_prompts: int = Field(default=8, ge=0)
    """So many held-out questions are decoded greedily at each evaluation, for the parse rate."""
    threads: int | None = Field(default=None, gt=0)
    """Of the processor; None: as torch chooses."""
    compile: bool = False
    """Whether torch compiles the blocks first, which takes a C++ compiler and two minutes; steps are then faster."""


class Prefer(Frozen):
    """Learning from what plans achieve: a search, or a known plan, says which of a question's plans is better."""

    method: Literal["best", "dpo"] = "best"
    """"best" fine-tunes on the best plan of each question; "dpo" on pairs of a better and a worse one."""
    questions: int = Field(default=500, ge=0)
    """Most training questions with evidence, chosen by the run's seed; 0: none are searched for."""
    examples: int = Field(default=0, ge=0)
    """Most of the run's own training examples, chosen by its seed, whose known plan is held against the student's."""
    draws: int = Field(default=8, ge=2)
    """How many plans are drawn for a question, besides the greedy one."""
    temperature: float = Field(default=1.0, gt=0)
    budget: int = Field(default=9, gt=0)
    """Among how many passages the evidence has to be."""
    whole: bool = True
    """Whether a question that finds as much when searched for as it is beats its plans, and is to be left whole."""
    learning_rate: float = Field(default=2e-4, gt=0)
    epochs: int = Field(default=1, gt=0)
    beta: float = Field(default=0.1, gt=0)
    """DPO's: how closely the student is held to what it was."""
    supervised: float = Field(default=0.2, ge=0)
    """DPO's: how much of the loss on the better plan itself is added."""


class Export(Frozen):
    """What the trained student is written as."""

    adapter_type: Literal["F32", "F16", "Q8_0"] = "F16"
    """How the adapter's tensors are stored."""
    ladder: tuple[Quantisation, ...] = ("Q8_0", "Q4_K_M")
    """Quantisations of the merged model, besides F16."""
    parity_prompts: int = Field(default=16, gt=0)
    """So many held-out prompts are compared."""
    base: Path | None = None
    """The GGUF of a student that is a hub checkpoint: what its adapter will be served with. None: the student is a GGUF
    itself."""


class Evaluate(Frozen):
    """On how many questions the student's plans are measured, and how."""

    max_subquestions: int = Field(default=3, ge=1, le=9)
    """The cap that both are told and held to."""
    limit: int | None = Field(default=200, gt=0)
    """Most questions of each evaluation source, chosen by the run's seed; None: all."""
    untuned_limit: int | None = Field(default=None, ge=0)
    """The untuned student is measured beside ours on so many of them at most, the first that the seed draws; 0: not at
    all; None: on all. It writes long, and so takes most of the time."""


class Config(Frozen):
    """One run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Names the folder of the run's artifacts."""
    seed: int = 0
    """For sampling, shuffling and initial weights."""
    output: Path = Path("training/runs")
    """Where runs lie; a relative path counts from the checkout's root."""
    load: Load
    demonstrate: Demonstrate = Demonstrate()
    screen: Screen = Screen()
    finetune: Finetune = Finetune()
    prefer: Prefer | None = None
    export: Export = Export()
    evaluate: Evaluate = Evaluate()

    @property
    def folder(self) -> Path:
        """Where this run's artifacts lie."""
        return ROOT / self.output / self.name


def load_toml(path: Path, kind: type[Settings]) -> Settings:
    """Return the settings in a TOML file: a `Config`, or a measurement's.

    Raises:
        ValueError: There is no such file, it is no TOML, a field is unknown or out of range, or they do not fit
            together; names each.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(str(found) for found in sorted(path.parent.glob("*.toml"))) or "none"
        raise ValueError(f"There is no config {path}. Beside it: {known}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The config {path} cannot be read: {error}. Name a TOML file in UTF-8.") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = "\n".join(f"  {_problem(problem)}" for problem in error.errors())
        raise ValueError(f"{path} cannot be used:\n{wrong}") from None


def _problem(problem: ErrorDetails) -> str:
    place = ".".join(map(str, problem["loc"]))
    given = problem["input"]  # of a check across fields: all there is
    return f"{place}: {problem['msg']}" + ("" if isinstance(given, dict) else f" (got {given!r})")
