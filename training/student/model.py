"""The student before training: its weights, its tokenizer, and its prompts as token ids.

A student that starts from a GGUF gets the very weights it will be served with, dequantised, so that the adapter makes
up for what quantisation took. Its token ids are those of llama.cpp; the parity gate (`parity.py`) holds that to be so.
"""

import io
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_divconq.llamacpp.engines.gguf import check_model, read_header
from langchain_divconq.llamacpp.messages import chat_roles
from langchain_divconq.llamacpp.weights import default_weights
from training.config import Config

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Families whose adapters can be exported; Hugging Face and llama.cpp name them alike."""


def student_file(name: str, folder: Path) -> Path | None:
    """Return the GGUF a student starts from; None for a hub checkpoint.

    Args:
        name: As in `Finetune.student`.
        folder: Where the tiny model is made if it is not there.

    Raises:
        ValueError: There is no such file.
    """
    if name in ("bundled", "medium"):
        return default_weights("small" if name == "bundled" else "medium")
    if name == "tiny":
        from training.student.tiny import make_tiny

        path = folder / "tiny.gguf"
        return path if path.is_file() else make_tiny(path)
    if not name.endswith(".gguf"):
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(
            f'The student {name!r} is no file. Name a GGUF that exists, a hub checkpoint, "bundled" or "tiny".'
        )
    return path


def served_file(config: Config) -> Path:
    """Return the GGUF a run's adapter is served with.

    Raises:
        ValueError: There is none, or it is no file.
    """
    path = student_file(config.finetune.student, config.folder) or config.export.base
    if path is None:
        raise ValueError(
            f"The student {config.finetune.student!r} is a hub checkpoint, and llama.cpp runs GGUF files. Set "
            "export.base to the GGUF of the same model (llama.cpp's convert_hf_to_gguf.py makes one)."
        )
    if not path.is_file():
        raise ValueError(f"export.base is {str(path)!r}, which is no file. Correct it.")
    return path


def load_student(name: str, folder: Path, dtype: str) -> tuple[Any, Any]:
    """Return the student's model, in evaluation mode, and its tokenizer.

    Args:
        name: As in `Finetune.student`.
        folder: Where the tiny model is made if it is not there.
        dtype: Of the weights: "float32" or "bfloat16".

    Raises:
        ValueError: There is no such file, an adapter for its architecture cannot be exported, or it has no chat
            template.
        InvalidWeightsError: The file is no GGUF model, or damaged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    file = student_file(name, folder)
    if file is not None:
        check_model(read_header(file))
        _check_architecture(name, read_header(file).architecture)  # before transformers reads all of it
    tokenizer = load_tokenizer(name, folder)
    where, options = _source(name, file)
    config = AutoConfig.from_pretrained(where, **options)
    _check_architecture(name, config.model_type)
    if file is not None and (head := read_header(file).integer(f"{config.model_type}.attention.key_length")):
        config.head_dim = head  # transformers leaves it at 128 for qwen3
    # Transformers would keep the weights of some types packed, in kernels of its own that no adapter can train through.
    unpacked = {} if file is None else {"quantization_config": GgufConfig(dequantize=True)}
    with redirect_stderr(io.StringIO()):  # the loader's own progress bars cannot be turned off otherwise
        model: Any = AutoModelForCausalLM.from_pretrained(
            where, config=config, dtype=getattr(torch, dtype), **options, **unpacked
        )
    if getattr(model, "is_quantized", False):
        # Trainers refuse what says that it is quantised, and this is not any more.
        del model.hf_quantizer, model.config.quantization_config
        model.is_quantized = False
    return model.eval(), tokenizer


def load_tokenizer(name: str, folder: Path) -> Any:
    """Return the student's tokenizer alone.

    Raises:
        ValueError: There is no such file, or it has no chat template.
    """
    from transformers import AutoTokenizer

    file = student_file(name, folder)
    where, options = _source(name, file)
    tokenizer = AutoTokenizer.from_pretrained(where, **options)
    if not tokenizer.chat_template:
        raise ValueError(f"The student {name!r} has no chat template. Use the instruction-tuned variant of the model.")
    if file is not None and read_header(file).text("tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = split_digits()
    return tokenizer


def render_prompt(messages: Sequence[BaseMessage], tokenizer: Any) -> str:
    """Return the prompt as the engines render it: by the model's chat template, opening the reply."""
    return str(tokenizer.apply_chat_template(chat_roles(messages), tokenize=False, add_generation_prompt=True))


def prompt_ids(messages: Sequence[BaseMessage], tokenizer: Any) -> list[int]:
    """Return the token ids llama.cpp reads for these messages."""
    ids = _encode(render_prompt(messages, tokenizer), tokenizer)
    bos = tokenizer.bos_token_id if getattr(tokenizer, "add_bos_token", False) else None
    # A template may write the token itself; the engines never put it twice.
    return ids if bos is None or ids[:1] == [bos] else [bos, *ids]


def completion_ids(text: str, tokenizer: Any) -> list[int]:
    """Return the token ids of a reply and of the token that ends it.

    Raises:
        ValueError: The chat template ends a reply with no special token, so llama.cpp would not stop there.
    """
    return [*_encode(text, tokenizer), end_of_turn(tokenizer)]


def end_of_turn(tokenizer: Any) -> int:
    """Return the token with which the chat template ends the assistant's turn.

    Raises:
        ValueError: It is no special token, so llama.cpp would not stop there.
    """
    chat = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "Reply"}]
    ending = str(tokenizer.apply_chat_template(chat, tokenize=False)).rpartition("Reply")[2]
    ids = _encode(ending, tokenizer)
    if not ids or ids[0] not in tokenizer.all_special_ids:
        raise ValueError(
            f"The chat template ends a reply with {ending!r}; expected a special token such as '<|im_end|>' first, for "
            "a reply ends where the model writes one. Use the instruction-tuned variant of the model."
        )
    return ids[0]


def greedy(model: Any, prompt: Sequence[int], max_tokens: int, ends: Collection[int]) -> list[int]:
    """Return the model's likeliest reply, without the token that ends it."""
    import torch

    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.no_grad():
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
        )
    reply: list[int] = written[0, len(prompt) :].tolist()
    return reply[:-1] if reply[-1:] and reply[-1] in ends else reply


def padding_id(tokenizer: Any) -> int:
    """Return the token that fills a batch's shorter sequences."""
    token: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return token


def _encode(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _source(name: str, file: Path | None) -> tuple[str, dict[str, str]]:
    """Return what transformers is to load from, and with which options."""
    return (name, {}) if file is None else (str(file.resolve().parent), {"gguf_file": file.name})


def _check_architecture(name: str, architecture: str) -> None:
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"The student {name!r} is a {architecture!r}; adapters can be exported for {', '.join(ARCHITECTURES)}. "
            "Choose a model of one of these families."
        )


def split_digits() -> Any:
    """Return what splits text as llama.cpp's "smollm" does: each digit alone, before all else.

    Transformers does not know that name and splits as GPT-2 does, where a space belongs to the number after it.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
