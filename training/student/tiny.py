"""A random model of 2 layers, for tests and the smoke run: a whole GGUF, as small as one can be.

It has what the real ones have and what exports trip over: grouped heads, so that the order of their rows shows; a
tokenizer with merges; a chat template; biases (qwen2) and norms of queries and keys (qwen3); tied embeddings (but for
qwen2, so that both layouts are met).
"""

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

import gguf
import numpy as np

from langchain_divconq import Question
from langchain_divconq.prompts import NO_DECOMPOSITION, decomposition_prompt
from training.store import whole
from training.student.model import split_digits

Architecture: TypeAlias = Literal["llama", "qwen2", "qwen3"]

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LAYERS, _WIDTH, _INNER, _HEADS, _HEADS_KV, _HEAD = 2, 64, 128, 4, 2, 16
_CONTEXT, _VOCABULARY = 2048, 512
_SENTENCES = (
    "1. How many apples does Nora pick on the first two days?",
    "2. How many apples are left after she sells #1 of them?",
    "3. How much money does she get for #2 apples at 3 dollars each?",
    "1. Who directed the film that opened the festival?\n2. In which year was #1 born?",
    "1. When was the older bridge built?\n2. When was the newer bridge built?\n3. Is #1 before #2?",
    "1. What is the capital of the country where the river ends?\n2. What is the population of #1?",
    "Context: In the third quarter the visitors scored 14 points and the home side answered with a field goal.",
    "How many more points were scored in the second half than in the first half of the game?",
    "Which of the two painters lived longer, and where did the other one study?",
    "A baker makes 40 loaves in the morning and 25 in the afternoon. He sells 50 of them. How many loaves remain?",
    "Could a person who was born in 1990 have met the founder of the company?",
    "Answer: 15",
    "Answer: yes",
    NO_DECOMPOSITION,
)


def make_tiny(path: Path, architecture: Architecture = "llama", seed: int = 0) -> Path:
    """Write a random model that llama.cpp and transformers load, and return its path.

    Args:
        path: The GGUF.
        architecture: Which family it belongs to.
        seed: For the weights. The tokenizer is always the same.
    """
    tokens, merges = _train_tokenizer()
    with whole(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        _describe(writer, architecture)
        _add_tokenizer(writer, tokens, merges)
        for name, tensor in _tensors(architecture, len(tokens), seed).items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, architecture: Architecture) -> None:
    writer.add_type("model")
    writer.add_name(f"Tiny {architecture}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(_LAYERS)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS_KV)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str]) -> None:
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    special = [gguf.TokenType.CONTROL] * len(_SPECIAL)
    writer.add_token_types(special + [gguf.TokenType.NORMAL] * (len(tokens) - len(special)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(architecture: Architecture, vocabulary: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any] = random.standard_normal((rows, columns)) * scale / columns**0.5
        return values.astype(np.float32)

    def vector(size: int, mean: float) -> np.ndarray[Any, Any]:
        return (mean + 0.1 * random.standard_normal(size)).astype(np.float32)

    # Embeddings outweigh the blocks, so that quantising costs little, as in a trained model, and errors still show. The
    # last norm has both signs: with tied embeddings each token would foretell itself otherwise.
    tensors = {"token_embd.weight": matrix(vocabulary, _WIDTH, 5), "output_norm.weight": 10 * vector(_WIDTH, 0)}
    if architecture == "qwen2":
        tensors["output.weight"] = matrix(vocabulary, _WIDTH, 5)
    queries, keys = _HEADS * _HEAD, _HEADS_KV * _HEAD
    for layer in range(_LAYERS):
        block = {
            "attn_norm.weight": vector(_WIDTH, 1),
            "attn_q.weight": matrix(queries, _WIDTH),
            "attn_k.weight": matrix(keys, _WIDTH),
            "attn_v.weight": matrix(keys, _WIDTH),
            "attn_output.weight": matrix(_WIDTH, queries, 0.5),
            "ffn_norm.weight": vector(_WIDTH, 1),
            "ffn_gate.weight": matrix(_INNER, _WIDTH),
            "ffn_up.weight": matrix(_INNER, _WIDTH),
            "ffn_down.weight": matrix(_WIDTH, _INNER, 0.5),
        }
        if architecture == "qwen2":
            block |= {f"attn_{part}.bias": vector(size, 0) for part, size in (("q", queries), ("k", keys), ("v", keys))}
        if architecture == "qwen3":
            block |= {f"attn_{part}_norm.weight": vector(_HEAD, 1) for part in ("q", "k")}
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in block.items()}
    return tensors


def _train_tokenizer() -> tuple[list[str], list[str]]:
    """Return the vocabulary and the merges of a byte-level BPE that splits text as llama.cpp's "smollm" does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split_digits()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    asked = [str(message.content) for message in decomposition_prompt(Question(text="Who?"), 3, "student")]
    roles = ["system\n", "user\n", "assistant\n"]
    tokenizer.train_from_iterator([*roles, *asked, *_SENTENCES], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), [" ".join(pair) for pair in model["merges"]]
