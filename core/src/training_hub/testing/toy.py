"""A small model and a few rows, made here in a second, on which training can be watched."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TEMPLATE = """\
{%- for message in messages -%}
<|{{ message['role'] }}|>
{{ message['content'] }}<|end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{% endif -%}
"""
"""The chat template: a line for the role, the text and `<|end|>`, a newline."""


def make_model(directory: Path, *, seed: int = 0, template: str = TEMPLATE, **settings: Any) -> None:
    """Save a Llama of random weights, some 100,000 of them, with a tokenizer of single characters and a template.

    It needs torch and transformers, which are imported here and not before.

    Args:
        directory: Where to save it.
        seed: Of its weights.
        template: The chat template.
        **settings: Of the `LlamaConfig`, where they are to be other ones, such as `num_hidden_layers=2`.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer_class: Any = PreTrainedTokenizerFast
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(special)
    tokenizer = tokenizer_class(
        tokenizer_object=plain, eos_token="<|end|>", pad_token="<|pad|>", chat_template=template
    )
    torch.manual_seed(seed)
    usual = {
        "vocab_size": len(alphabet),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    model = LlamaForCausalLM(LlamaConfig(**usual | settings))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def conversations(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of one to three turns and of different lengths, each of fewer than 200 of the toy model's tokens."""
    rng = random.Random(seed)
    for _ in range(count):
        word = "".join(rng.choices("abcdefgh", k=rng.randint(2, 9)))
        messages = [
            {"role": "user", "content": f"Spell {word} backwards."},
            {"role": "assistant", "content": word[::-1]},
        ]
        for _ in range(rng.randint(0, 2)):
            messages += [
                {"role": "user", "content": "Again."},
                {"role": "assistant", "content": word[::-1] * rng.randint(1, 4)},
            ]
        yield {"messages": messages}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
