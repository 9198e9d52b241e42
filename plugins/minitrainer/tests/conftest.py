"""A toy model and rows, and the backend on a CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent))
from minitrainer_runs import backend_on_cpu

TEMPLATE = """\
{%- for message in messages -%}
<|{{ message['role'] }}|>{{ message['content'] }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


@pytest.fixture
def cpu() -> Iterator[None]:
    with backend_on_cpu():
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and random weights, with a tokenizer of bytes.

    Its path has "opt" in it, by which mini-trainer itself would take it for an OPT.
    """
    directory = tmp_path_factory.mktemp("opt") / "llama"
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(vocabulary)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|end|>", pad_token="<|pad|>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            eos_token_id=[tokenizer.eos_token_id, 4],
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    network.generation_config.do_sample = True
    network.generation_config.top_k = 7
    network.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def conversation(number: int) -> dict[str, list[dict[str, str]]]:
    """A question and an answer of very different lengths from row to row."""
    answer = f"{number * 6} " * (1, 5, 12, 20)[number % 4]
    turns = [("user", f"Say {number * 6}."), ("assistant", answer.strip())]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen conversations."""
    return write(tmp_path_factory.mktemp("rows") / "rows.jsonl", [conversation(number) for number in range(16)])


@pytest.fixture
def job(model: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """The parameters of a short run; a test adds its own."""
    return {
        "model_path": model,
        "data_path": rows,
        "ckpt_output_dir": tmp_path / "out",
        "backend": "mini-trainer",
        "num_epochs": 2,
        "effective_batch_size": 8,
        "learning_rate": 1e-3,
        "max_seq_len": 128,
    }
