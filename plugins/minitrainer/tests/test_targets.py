"""Which weights OSFT decomposes, for models of several families that have names and shapes and no memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from training_hub.errors import ParameterError
from training_hub_minitrainer.targets import skeleton, target_weights

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = ["down", "gate", "k", "o", "q", "up", "v"]


def meta(model_type: str, **settings: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL | settings))


def endings(names: list[str]) -> list[str]:
    return sorted({name.removesuffix(".weight").rpartition(".")[2].removesuffix("_proj") for name in names})


@pytest.mark.parametrize(
    ("model_type", "settings", "expected"),
    [
        ("llama", {"intermediate_size": 48, "num_key_value_heads": 2}, LLAMA),
        ("qwen2", {"intermediate_size": 48, "num_key_value_heads": 2}, LLAMA),
        ("gemma", {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}, LLAMA),
        ("granite", {"intermediate_size": 48, "num_key_value_heads": 2}, LLAMA),
        (
            "phi3",
            {"intermediate_size": 48, "num_key_value_heads": 2, "pad_token_id": 0},
            ["down", "gate_up", "o", "qkv"],
        ),
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}, ["fc1", "fc2", "k", "out", "q", "v"]),
    ],
)
def test_the_default_goes_by_the_models_type(model_type: str, settings: dict[str, Any], expected: list[str]) -> None:
    found = target_weights(meta(model_type, **settings), model_type)
    assert endings(found) == expected
    assert len(found) == 2 * len(expected)


def test_a_pattern_is_any_part_of_a_weights_name(model: Path) -> None:
    plain, model_type = skeleton(str(model), trust_remote_code=False)
    assert model_type == "llama"
    assert target_weights(plain, model_type, ["1.mlp.up"]) == ["model.layers.1.mlp.up_proj.weight"]
    assert target_weights(plain, model_type, ["lm_head"]) == ["lm_head.weight"]


@pytest.mark.parametrize("pattern", ["embed_tokens", "norm", "self_attn.q_porj"])
def test_what_is_no_linear_layer_or_not_there_is_refused_with_the_names_there_are(model: Path, pattern: str) -> None:
    plain, model_type = skeleton(str(model), trust_remote_code=False)
    with pytest.raises(ParameterError, match=rf"'{pattern}'.*mlp.up_proj, self_attn.k_proj"):
        target_weights(plain, model_type, ["q_proj", pattern])


def test_a_head_that_shares_its_weight_with_the_embedding_is_refused() -> None:
    tied = meta("llama", intermediate_size=48, tie_word_embeddings=True)
    with pytest.raises(ParameterError, match="'lm_head'"):
        target_weights(tied, "llama", ["lm_head"])


def test_gpt2_is_refused_because_its_layers_are_transposed() -> None:
    """mini-trainer would decompose them, and multiply by the wrong side of each."""
    with pytest.raises(ParameterError, match="no linear layer of this gpt2"):
        target_weights(meta("gpt2"), "gpt2")
