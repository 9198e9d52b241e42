"""Small models of many architectures, of random weights: each a model_type and what its config needs to be small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_PLAIN = {**_WIDTH, "num_key_value_heads": 2, "max_position_embeddings": 512}
_TIED = {"tie_word_embeddings": True}
_NO_WINDOW = {"sliding_window": None}
_WINDOW = {"head_dim": 8, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_ALL_KEYS = {**_WIDTH, "max_position_embeddings": 512}
_STATE_SPACE = {
    **{"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16},
    "mamba_d_conv": 4,
}
_GPT = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
}
# Multi-head latent attention: queries, keys and values through narrow projections.
_LATENT = {
    **_PLAIN,
    "num_key_value_heads": 4,
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1},
    **{"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
}

ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # Decoders of one kind of layer.
    "llama": ("llama", _PLAIN),
    "llama tied": ("llama", _PLAIN | _TIED),
    "mistral": ("mistral", _PLAIN | _NO_WINDOW),
    "qwen2 tied": ("qwen2", _PLAIN | _TIED),
    "qwen3": ("qwen3", _PLAIN | {"head_dim": 8}),
    "gemma": ("gemma", _PLAIN | {"head_dim": 8}),
    "gemma2": ("gemma2", _PLAIN | {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "gemma3_text": ("gemma3_text", _PLAIN | _WINDOW),
    "granite": (
        "granite",
        _PLAIN
        | _TIED
        | {"embedding_multiplier": 6.0, "logits_scaling": 4.0, "residual_multiplier": 0.3, "attention_multiplier": 0.2},
    ),
    "phi3": ("phi3", _PLAIN | _NO_WINDOW),
    "phi": ("phi", _PLAIN),
    "olmo": ("olmo", _PLAIN),
    "olmo2": ("olmo2", _PLAIN),
    "olmo3": ("olmo3", _PLAIN | {"sliding_window": 16, "layer_types": _WINDOW["layer_types"]}),
    "smollm3": ("smollm3", _PLAIN),
    "cohere": ("cohere", _PLAIN),
    "cohere2": ("cohere2", _PLAIN | {"sliding_window": 16, "layer_types": _WINDOW["layer_types"]}),
    "stablelm": ("stablelm", _PLAIN),
    "starcoder2": ("starcoder2", _PLAIN | _NO_WINDOW | dict.fromkeys(("residual_dropout", "embedding_dropout"), 0.0)),
    "glm": ("glm", _PLAIN | {"head_dim": 8}),
    "glm4": ("glm4", _PLAIN | {"head_dim": 8}),
    "exaone4": ("exaone4", _PLAIN | {"sliding_window": 16, "layer_types": _WINDOW["layer_types"]}),
    "ernie4_5": ("ernie4_5", _PLAIN | {"head_dim": 8}),
    "nemotron": ("nemotron", _PLAIN),
    "helium": ("helium", _PLAIN | {"head_dim": 8}),
    "seed_oss": ("seed_oss", _PLAIN | {"head_dim": 8, "attention_dropout": 0.0, "residual_dropout": 0.0}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", _PLAIN | {"head_dim": 8}),
    "persimmon": ("persimmon", _ALL_KEYS),
    "gpt2": ("gpt2", _GPT),
    "gpt_neo": (
        "gpt_neo",
        {
            **{"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
            **{"window_size": 16, "max_position_embeddings": 512},
            **dict.fromkeys(("resid_dropout", "embed_dropout", "attention_dropout"), 0.0),
        },
    ),
    "gptj": ("gptj", _GPT | {"rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", _ALL_KEYS),
    "gpt_bigcode": ("gpt_bigcode", _GPT),
    "opt": (
        "opt",
        {
            **{"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"max_position_embeddings": 512, "word_embed_proj_dim": 32, "dropout": 0.0, "attention_dropout": 0.0},
        },
    ),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.0, "attention_dropout": 0.0}),
    "falcon": (
        "falcon",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "new_decoder_architecture": False},
    ),
    "mpt": ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512}),
    # Mixtures of experts.
    "mixtral": ("mixtral", _PLAIN | _NO_WINDOW | _LOCAL_EXPERTS),
    "qwen2_moe": ("qwen2_moe", _PLAIN | _EXPERTS | {"shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("qwen3_moe", _PLAIN | _EXPERTS | {"head_dim": 8}),
    "olmoe": ("olmoe", _PLAIN | {"num_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("gpt_oss", _PLAIN | _WINDOW | _LOCAL_EXPERTS),
    "granitemoe": ("granitemoe", _PLAIN | _LOCAL_EXPERTS | {"logits_scaling": 4.0}),
    "phimoe": (
        "phimoe",
        _PLAIN | _NO_WINDOW | _LOCAL_EXPERTS | {"router_jitter_noise": 0.0, "input_jitter_noise": 0.0},
    ),
    "deepseek_v3": ("deepseek_v3", _LATENT),
    "glm4_moe": (
        "glm4_moe",
        _PLAIN
        | {
            **{"head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
            **{"n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
        },
    ),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        _PLAIN
        | {
            **{"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 1},
            **{"moe_layer_start_index": 1, "moe_layer_end_index": 1, "moe_layer_interval": 1},
        },
    ),
    # State spaces, convolutions, and hybrids of them with attention.
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "mamba2": (
        "mamba2",
        {
            **{"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 16},
            **{"n_groups": 1, "chunk_size": 16},
        },
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        _PLAIN
        | _TIED
        | _LOCAL_EXPERTS
        | _STATE_SPACE
        | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 64, "logits_scaling": 4.0},
    ),
    "bamba": ("bamba", _PLAIN | _STATE_SPACE | {"attn_layer_indices": [1]}),
    "falcon_h1": ("falcon_h1", _PLAIN | _STATE_SPACE | {"mamba_d_ssm": 64, "head_dim": 8}),
    "jamba": (
        "jamba",
        _PLAIN
        | {
            **{"num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
            **{"expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
            "use_mamba_kernels": False,
        },
    ),
    "lfm2": ("lfm2", _PLAIN | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "qwen3_next": (
        "qwen3_next",
        _PLAIN
        | _EXPERTS
        | {
            **{"head_dim": 8, "shared_expert_intermediate_size": 32, "linear_key_head_dim": 8},
            **{"linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        _PLAIN | {"lru_width": 32, "attention_window_size": 64, "block_types": ["recurrent", "attention"]},
    ),
}
"""By name: the `model_type`, and the arguments of its config."""


def make(name: str, directory: Path, **changes: Any) -> None:
    """Save a small model of an architecture, with the toy model's tokenizer and template.

    Args:
        name: One of `ARCHITECTURES`.
        directory: Where to.
        **changes: Of its config.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from training_hub.testing.toy import make_model

    make_model(directory, num_hidden_layers=1)
    for made in ("config.json", "generation_config.json", "model.safetensors"):
        (directory / made).unlink(missing_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    kind, own = ARCHITECTURES[name]
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **tokens, **own, **changes})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        # As they are made, norms are ones and biases zeros, and whatever loses them would go unseen.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(directory)
