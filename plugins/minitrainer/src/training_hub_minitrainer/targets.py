"""Which weights OSFT decomposes: patterns looked up in the model itself, before a weight of it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from training_hub.errors import ModelError, ParameterError, nearest

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_QWEN3_5 = (*_ATTENTION, "linear_attn.out_proj", *_MLP)
_GPT_NEO = tuple(f"attn.attention.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj"))

DEFAULT_TARGETS: Mapping[str, tuple[str, ...]] = {
    "default": (*_ATTENTION, *_MLP),
    "gpt_neo": (*_GPT_NEO, "mlp.c_fc", "mlp.c_proj"),
    "gpt_oss": _ATTENTION,
    "gptj": ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
    "opt": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"),
    "phi3": ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    "qwen3_5": _QWEN3_5,
    "qwen3_5_moe": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5,
    "qwen3_5_text": _QWEN3_5,
}
"""Patterns by the `model_type` of a configuration, the same as in the trl backend; `default` serves all others.

mini-trainer itself goes by parts of the model's *path*: /opt/models/Qwen2 would get the patterns of OPT.
"""


def target_weights(model: nn.Module, model_type: str, patterns: Sequence[str] | None = None) -> list[str]:
    """Names of the weights of linear layers in whose name a pattern occurs, in the order of the model.

    Only these can be decomposed: mini-trainer would also take an embedding, or the transposed Conv1D of GPT-2, whose
    forward pass it then computes wrongly. Weights that two layers share (a tied `lm_head`) are left whole.

    Args:
        model: The model; its weights may be on the meta device.
        model_type: As in its configuration.
        patterns: Parts of weight names; by default those in `DEFAULT_TARGETS`.

    Raises:
        ParameterError: Nothing matches, or one of the given patterns matches nothing; with the names that there are.
    """
    wanted = tuple(patterns or DEFAULT_TARGETS.get(model_type, DEFAULT_TARGETS["default"]))
    seen: set[int] = set()
    shared: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (shared if id(parameter) in seen else seen).add(id(parameter))
    linear = [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in shared
    ]
    found = [name for name in linear if any(pattern in name for pattern in wanted)]
    idle = [pattern for pattern in wanted if not any(pattern in name for name in linear)]
    # A default pattern may be of another member of the model's family.
    if found and (not idle or not patterns):
        return found
    endings = sorted({_ending(name) for name in linear})
    hint = nearest(idle[0], endings) if patterns else ""
    raise ParameterError(
        f"target_patterns: no linear layer of this {model_type or 'model'} has {' or '.join(map(repr, idle))} in its "
        f"name{hint}. The names of those that OSFT can decompose end in: "
        f"{', '.join(endings[:20]) or '(there are none)'}{', ...' if len(endings) > 20 else ''}"
    )


def _ending(weight: str) -> str:
    """Two parts of a layer's name, which tell `self_attn.k_proj` from `cross_attn.k_proj`, without its number."""
    return ".".join([part for part in weight.removesuffix(".weight").split(".") if not part.isdigit()][-2:])


def skeleton(model_path: str, *, trust_remote_code: bool) -> tuple[nn.Module, str]:
    """The model that mini-trainer would decompose, without weights, and its `model_type`.

    Raises:
        ModelError: Its architecture is not a language model that mini-trainer knows how to load.
    """
    from mini_trainer.utils import get_model_class_from_config

    # Comes first: mini-trainer's function would run the model's own code without asking.
    config = AutoConfig.from_pretrained(model_path, trust_remote_code=trust_remote_code)
    try:
        architecture = get_model_class_from_config(model_path)
    except ValueError as error:
        raise ModelError(f"model_path={model_path}: mini-trainer's OSFT cannot load it: {error}") from error
    own = _of_architecture(config, architecture)
    with torch.device("meta"):
        return architecture(own), str(own.model_type)


def _of_architecture(config: PretrainedConfig, architecture: Any) -> PretrainedConfig:
    """The configuration of the language part, where a model has others besides."""
    text = getattr(config, "text_config", None)
    expected = getattr(architecture, "config_class", None)
    if text is not None and expected is not None and not isinstance(config, expected):
        return text  # type: ignore[no-any-return]
    return config
