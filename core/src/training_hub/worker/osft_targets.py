"""Which weights OSFT splits: patterns looked up in the model itself."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from training_hub.errors import ParameterError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger("training_hub")

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
"""Target patterns by the `model_type` of a transformers configuration; `default` serves every type not named.

Llama, Mistral, Qwen 2 and 3, Gemma and Granite are in `default`; `phi3` is also the type of Phi-4.
"""


def target_layers(model: PreTrainedModel, patterns: Sequence[str] | None = None) -> list[str]:
    """Names of the linear layers that OSFT splits, in the order of the model.

    A layer is meant when a pattern occurs anywhere in the name of its weight (`model.layers.0.mlp.up_proj.weight`).
    Layers that share their weight with another one (a tied `lm_head`) are left whole.

    Args:
        model: The plain model; its weights may be on the meta device.
        patterns: Parts of weight names. None or empty: the entry of `DEFAULT_TARGETS` for the model's type.

    Raises:
        ParameterError: Nothing matches, or one of the given patterns matches nothing; with the names that there are.
    """
    from torch import nn

    model_type = str(getattr(model.config, "model_type", ""))
    wanted = tuple(patterns or DEFAULT_TARGETS.get(model_type, DEFAULT_TARGETS["default"]))
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    own = [name for name in linear if uses[id(model.get_submodule(name).weight)] == 1]
    found = [name for name in own if any(pattern in f"{name}.weight" for pattern in wanted)]
    idle = [pattern for pattern in wanted if not any(pattern in f"{name}.weight" for name in own)]
    if found and not idle:
        return found
    # A default pattern may be of another member of the model's family.
    if found and not patterns:
        logger.warning("OSFT protects no layer named %s: this model has none that can be split", ", ".join(idle))
        return found
    # Two parts of a name tell `self_attn.k_proj` from `cross_attn.k_proj`; the number of the layer is left out.
    endings = sorted({".".join([part for part in name.split(".") if not part.isdigit()][-2:]) for name in own})
    hint = nearest(idle[0], endings) if patterns else ""
    tied = " Layers that share their weight with another one cannot be split." if len(own) < len(linear) else ""
    raise ParameterError(
        f"target_patterns: no linear layer of this {model_type or 'model'} has {' or '.join(map(repr, idle))} in its "
        f"name{hint}. OSFT splits torch.nn.Linear layers; the names of those here end in: "
        f"{', '.join(endings[:20]) or '(there are none)'}{', ...' if len(endings) > 20 else ''}.{tied}"
    )
