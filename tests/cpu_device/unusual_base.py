"""A small base model that frameworks would save otherwise than it is, and whether what was trained is like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub.store.tensors import stored_tensors
from training_hub.testing.toy import make_model


def make_unusual(base: Path, kind: torch.dtype) -> None:
    """Tied weights, a config without a precision, settings of its own, and a token to pad with that it does not know."""
    make_model(base, num_hidden_layers=2, tie_word_embeddings=True)
    AutoModelForCausalLM.from_pretrained(base, dtype=kind).save_pretrained(base)
    config = _json(base / "config.json")
    del config["dtype"]
    (base / "config.json").write_text(json.dumps(config))
    own = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 3], "bos_token_id": 2, "pad_token_id": 3}
    (base / "generation_config.json").write_text(json.dumps(own))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    tokenizer.save_pretrained(base)


def check_like(base: Path, *written: Path) -> None:
    """Fail where a result differs from its base in more than the numbers of its weights."""
    for directory in written:
        assert _stored(directory) == _stored(base)
        for name in ("config.json", "generation_config.json"):
            assert _json(directory / name) == _json(base / name)
        head = AutoModelForCausalLM.from_pretrained(directory).lm_head.weight
        assert head.shape[0] == _json(base / "config.json")["vocab_size"]


def _stored(directory: Path) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in stored_tensors(directory).items()}


def _json(file: Path) -> Any:
    return json.loads(file.read_text())
