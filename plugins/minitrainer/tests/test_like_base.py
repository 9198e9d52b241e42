"""What is saved is like its base, where the framework would save something else, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub import osft
from training_hub.store.tensors import stored_tensors
from training_hub.testing.toy import make_model


def stored(directory: Path) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in stored_tensors(directory).items()}


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_tied_weights_settings_and_shapes_are_those_of_the_base(
    kind: torch.dtype, rows: Path, tmp_path: Path, cpu: None
) -> None:
    base = tmp_path / "base"
    make_model(base, num_hidden_layers=2, tie_word_embeddings=True)
    AutoModelForCausalLM.from_pretrained(base, dtype=kind).save_pretrained(base)
    config = json.loads((base / "config.json").read_text())
    del config["dtype"]
    (base / "config.json").write_text(json.dumps(config))
    own = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 3], "bos_token_id": 2, "pad_token_id": 3}
    (base / "generation_config.json").write_text(json.dumps(own))
    # A token to pad with that the model does not know.
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    tokenizer.save_pretrained(base)

    result = osft(
        model_path=base,
        data_path=rows,
        ckpt_output_dir=tmp_path / "out",
        backend="mini-trainer",
        unfreeze_rank_ratio=0.5,
        num_epochs=1,
        effective_batch_size=8,
        max_tokens_per_gpu=512,
        max_seq_len=128,
        learning_rate=1e-3,
        checkpoint_at_epoch=True,
    )

    assert result.checkpoint is not None
    for directory in (result.checkpoint, tmp_path / "out" / "checkpoint-2"):
        assert stored(directory) == stored(base)
        for name in ("config.json", "generation_config.json"):
            assert json.loads((directory / name).read_text()) == json.loads((base / name).read_text())
    weights = load_file(result.checkpoint / "model.safetensors").values()
    assert kind == torch.bfloat16 or any(not torch.equal(w, w.bfloat16().float()) for w in weights)
    assert AutoModelForCausalLM.from_pretrained(result.checkpoint).lm_head.weight.shape[0] == config["vocab_size"]
