"""Stage 4: LoRA on a student, with a loss on the completion alone. What a checkpoint holds is resumed to the bit."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_divconq.llamacpp.engines.gguf import read_header
from langchain_divconq.llamacpp.engines.identity import fingerprint
from training.config import ROOT, Config, Finetune, Repeat
from training.example import Example, load_examples
from training.student.adapter import keep_of_start, read_adapter
from training.student.batches import IGNORED, Sequenced, batched, collate, completion_tokens
from training.student.log import TrainingLog
from training.student.model import completion_ids, greedy, load_student, padding_id, prompt_ids, served_file
from training.student.targets import Target, parse_rate, target

_PLAN_TOKENS = 128
"""Most tokens decoded to see whether a plan parses."""
_SHORT = 256
"""Most tokens of a held-out example whose plan is decoded for that."""


@dataclass(frozen=True)
class Material:
    """What a student learns from and what it is watched on, as token ids."""

    training: list[Sequenced]
    """The examples that are short enough, the repeated ones repeated."""
    held_out: list[Sequenced]
    """The validation examples, likewise; never repeated."""
    too_long: int
    """How many training examples are left out."""
    padding: int
    """The token that fills a batch's shorter sequences."""


def finetune(config: Config) -> None:
    """Train the student on 3-screened.jsonl and leave it, with its metrics and loss plot, in 4-student/.

    Under `accelerate launch` each process takes its share of every step's batches; the gradient is the same.

    Raises:
        ValueError: There is nothing to train on, the labels are not the completions, or a checkpoint is of another run.
    """
    import torch
    from accelerate import Accelerator

    options = config.finetune
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(config.seed)
    folder = config.folder / "4-student.partial"
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_student(options.student, config.folder, options.dtype)
    material = prepare(config, tokenizer)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    student = add_lora(model, options)
    start = None if options.start is None else ROOT / options.start
    if start is not None:
        go_on_from(start, student, served_file(config))
    trainable = [weight for weight in student.parameters() if weight.requires_grad]
    loss_of = accelerator.prepare(completion_loss(student))
    optimiser = torch.optim.AdamW(trainable, lr=options.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    plan = steps(material.training, config, accelerator.num_processes)
    data = fingerprint(config.folder / "3-screened.jsonl")
    log = TrainingLog(folder, config, steps=len(plan), data=data, start=start)
    done = log.resume(student, optimiser, writes=accelerator.is_main_process)
    accelerator.wait_for_everyone()

    for number, group in enumerate(plan[done:], start=done + 1):
        rate = learning_rate(number, len(plan), options)
        record = {"step": number, **take_step(loss_of, optimiser, group, rate, material.padding, accelerator)}
        if number % options.evaluate_every == 0 or number == len(plan):
            record |= watch(loss_of, student, tokenizer, material, options)
        if accelerator.is_main_process:
            log.add(record)
            if number % options.checkpoint_every == 0 and number < len(plan):
                log.checkpoint(number, student, optimiser)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if start is not None and options.keep:
            keep_of_start(student, start, served_file(config), options.keep)
        log.finish(student, examples=len(material.training), too_long=material.too_long)


def prepare(config: Config, tokenizer: Any) -> Material:
    """Return the examples that the stages before left, as token ids; one completion is printed.

    Raises:
        ValueError: There is nothing to train on, or the labels are not the completions.
    """
    options, path = config.finetune, config.folder / "3-screened.jsonl"
    examples = {
        "training": repeated(load_examples(path), options.repeat),
        "held_out": load_examples(config.folder / "3-validation.jsonl"),
    }
    cap = config.demonstrate.max_subquestions
    targets = {name: [target(one, options.role, cap) for one in some] for name, some in examples.items()}
    short = {
        name: [one for one in (encode(each, tokenizer) for each in some) if len(one.ids) <= options.max_tokens]
        for name, some in targets.items()
    }
    if not short["training"]:
        raise ValueError(f"{path} leaves nothing to train on; see what the stages left out.")
    padding = padding_id(tokenizer)
    first = batched(short["training"], options.batch_tokens, seed=config.seed)[0]
    check_labels(first, targets["training"], tokenizer, padding)
    return Material(**short, too_long=len(targets["training"]) - len(short["training"]), padding=padding)


def take_step(
    loss_of: Any, optimiser: Any, group: Sequence[Sequence[Sequenced]], rate: float, padding: int, accelerator: Any
) -> dict[str, Any]:
    """Take one step of the optimiser on a group of batches; return its metrics.

    Args:
        loss_of: As `completion_loss` makes it, prepared by the accelerator.
        optimiser: Of the trainable weights.
        group: The batches of all processes; each takes its own.
        rate: The learning rate.
        padding: The token that fills shorter sequences.
        accelerator: Of this process.
    """
    import torch

    started = time.perf_counter()
    targets = sum(map(completion_tokens, group))
    mine = group[accelerator.process_index :: accelerator.num_processes]
    total = 0.0
    for index, batch in enumerate(mine):
        ids, labels = (tensor.to(accelerator.device) for tensor in collate(batch, padding))
        with nullcontext() if index == len(mine) - 1 else accelerator.no_sync(loss_of):
            # Gradients are averaged over the processes, hence the factor.
            loss = loss_of(ids, labels) * accelerator.num_processes / targets
            accelerator.backward(loss)
        total += float(loss.detach()) / accelerator.num_processes
    for parameters in optimiser.param_groups:
        parameters["lr"] = rate
        torch.nn.utils.clip_grad_norm_(parameters["params"], 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {
        "loss": float(accelerator.reduce(torch.tensor(total, device=accelerator.device))),
        "learning_rate": rate,
        "seconds": round(time.perf_counter() - started, 3),
        "tokens": sum(len(sequence.ids) for batch in group for sequence in batch),
    }


def watch(loss_of: Any, student: Any, tokenizer: Any, material: Material, options: Finetune) -> dict[str, float]:
    """Return the held-out loss, and for a decomposer the parse rate."""
    import torch

    with torch.compiler.set_stance("force_eager"):  # decoding would be compiled anew, for a few plans
        metrics = measure(loss_of, material.held_out, material.padding, options.batch_tokens)
        if options.role.startswith("S_D"):
            short = [one for one in material.held_out if len(one.ids) <= _SHORT]
            metrics |= plans_read(student, tokenizer, short[: options.parse_prompts])
    return metrics


def repeated(examples: Iterable[Example], repeats: Sequence[Repeat]) -> Iterator[Example]:
    """Yield the examples, each as often as the first of the repeats that it falls under says, or once."""
    for example in examples:
        times = (
            repeat.times
            for repeat in repeats
            if example.source == repeat.source and len(example.subquestions or ()) >= repeat.subquestions
        )
        yield from [example] * next(times, 1)


def encode(one: Target, tokenizer: Any) -> Sequenced:
    """Return a target as token ids; its completion ends with the token that ends a turn."""
    prompt = prompt_ids(one.prompt, tokenizer)
    return Sequenced(one.id, (*prompt, *completion_ids(one.completion, tokenizer)), len(prompt))


def add_lora(model: Any, options: Finetune) -> Any:
    """Return the model with a fresh adapter on all linear layers of its blocks; only the adapter is trained.

    The adapter is kept in 32 bits and works in the model's own precision. Attention is computed in plain matrices: for
    sequences of a hundred tokens PyTorch's fused kernel takes several times as long on a CPU.
    """
    from peft import LoraConfig, get_peft_model

    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=layers,
        task_type="CAUSAL_LM",
    )
    student = get_peft_model(model, lora)
    if not options.dropout:
        quicken(student)
    if options.compile:
        for block in model.model.layers:
            block.compile(dynamic=True)  # batches differ in shape
    student.train()
    return student


def go_on_from(start: Path, student: Any, base: Path) -> None:
    """Put an adapter's weights into a student that has a fresh one.

    Raises:
        ValueError: The adapters are not alike.
    """
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    weights = {name: torch.from_numpy(values) for name, values in read_adapter(start, read_header(base)).items()}
    fresh = get_peft_model_state_dict(student, save_embedding_layers=False)
    if {name: one.shape for name, one in weights.items()} != {name: one.shape for name, one in fresh.items()}:
        raise ValueError(f"{start} is an adapter of another model or rank than this run's. Set finetune.start anew.")
    set_peft_model_state_dict(student, weights)


def quicken(student: Any) -> None:
    """Make a student with an adapter faster at what it does: plain attention, and an adapter within the product."""
    from peft.tuners.lora import Linear

    # A class, not a function for each layer: the compiler would take every layer for another program.
    adapted = type("Adapted", (Linear,), {"forward": _adapted})
    student.base_model.model.set_attn_implementation("eager")
    for module in student.modules():
        if isinstance(module, Linear):
            module.__class__ = adapted


def _adapted(layer: Any, inputs: Any, *_: Any, **__: Any) -> Any:
    """Return a linear layer's output with its adapter's added in the same product; peft takes five passes for that."""
    import torch

    base = layer.base_layer
    if layer.disable_adapters:
        return base(inputs)
    (name,) = layer.active_adapters
    flat = inputs.reshape(-1, inputs.shape[-1])
    down, up = (half[name].weight.to(flat.dtype) for half in (layer.lora_A, layer.lora_B))
    output = torch.nn.functional.linear(flat, base.weight, base.bias)
    output = torch.addmm(output, flat @ down.t(), up.t(), alpha=layer.scaling[name])
    return output.view(*inputs.shape[:-1], -1)


def completion_loss(student: Any) -> Any:
    """Return a module: (ids, labels) → the cross-entropy summed over the completions' tokens.

    The head is applied to those positions alone. A plan is a third of its sequence and the head a fifth of a small
    model's arithmetic, so this saves what computing the prompt's logits would cost.
    """
    import torch

    class CompletionLoss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = student

        def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            causal = self.student.base_model.model
            hidden = causal.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            following = labels[:, 1:]
            wanted = following != IGNORED
            logits = causal.lm_head(hidden[wanted]).float()
            return torch.nn.functional.cross_entropy(logits, following[wanted], reduction="sum")

    return CompletionLoss()


def check_labels(batch: Sequence[Sequenced], targets: Sequence[Target], tokenizer: Any, padding: int) -> None:
    """Decode what the loss is taken on, and print one.

    Raises:
        ValueError: It is not the completion, or the prompt is not what precedes it.
    """
    known = {one.id: one for one in targets}
    ids, labels = collate(batch, padding)
    for row, sequence in enumerate(batch):
        learned = tokenizer.decode(labels[row][labels[row] != IGNORED])
        seen = tokenizer.decode(ids[row, : sequence.prompt])
        expected = known[sequence.id].completion
        question = known[sequence.id].prompt[-1].text
        ending = learned.removeprefix(expected).strip()
        if not learned.startswith(expected) or ending not in tokenizer.all_special_tokens or question not in seen:
            raise ValueError(
                f"The labels of {sequence.id} are not its completion: expected {expected!r} and the end of the turn "
                f"after a prompt with the question, got {learned!r} after {seen!r}. Tokenizer or chat template does "
                "not fit."
            )
    print(f"The loss is taken on the completion alone, for example: {learned!r}", flush=True)


def learning_rate(step: int, steps: int, options: Finetune) -> float:
    """Return the rate of a step (from 1): a linear warm-up, then a cosine down to zero."""
    warm = max(1, round(options.warmup * steps))
    if step <= warm:
        return options.learning_rate * step / warm
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def measure(loss_of: Any, held_out: Sequence[Sequenced], padding: int, batch_tokens: int) -> dict[str, float]:
    """Return the mean loss per completion token over the held-out sequences; nothing where there are none."""
    import torch

    if not held_out:
        return {}
    device = next(loss_of.parameters()).device
    loss_of.eval()
    with torch.no_grad():
        batches = batched(held_out, batch_tokens, seed=None)
        total = sum(float(loss_of(*(t.to(device) for t in collate(batch, padding)))) for batch in batches)
    loss_of.train()
    return {"held_out_loss": total / completion_tokens(held_out)}


def plans_read(student: Any, tokenizer: Any, prompts: Sequence[Sequenced]) -> dict[str, float]:
    """Return the share of greedy replies, held to no grammar, that are plans; nothing where there are no prompts."""
    if not prompts:
        return {}
    student.eval()
    replies = [greedy(student, one.ids[: one.prompt], _PLAN_TOKENS, [one.ids[-1]]) for one in prompts]
    student.train()
    return {"parse_rate": parse_rate(replies, tokenizer, "S_D-T")}


def steps(sequences: Sequence[Sequenced], config: Config, processes: int) -> list[list[list[Sequenced]]]:
    """Return the batches of each step of the optimiser, over all epochs and for all processes."""
    options = config.finetune
    if not options.epochs and options.start is None:
        raise ValueError("finetune.epochs is 0 and finetune.start names no adapter: nothing would be learned. Set one.")
    size = options.accumulate * processes
    groups = []
    for epoch in range(options.epochs):
        batches = batched(sequences, options.batch_tokens, seed=config.seed, epoch=epoch)
        if processes > 1:  # each process needs a batch in every step
            batches = batches[: len(batches) // size * size]
            if not batches:
                raise ValueError(
                    f"{len(sequences)} examples make too few batches for {processes} processes of {options.accumulate} "
                    "each; lower finetune.batch_tokens or use fewer processes."
                )
        groups += [batches[start : start + size] for start in range(0, len(batches), size)]
    return groups
