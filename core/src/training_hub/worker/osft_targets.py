"""Which weights OSFT splits: looked up in the model itself, by patterns, or all that are matrices of its layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from training_hub.errors import ParameterError, nearest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

SEEING = ("visual", "vision", "audio", "multi_modal_projector", "embed_vision")
"""Parts of names of what is no language model, which rows of text do not reach."""


def preserved_rank(shape: Sequence[int], unfreeze_rank_ratio: float) -> int:
    """Number of singular directions of a weight of this shape that are protected; of a stack, those of each matrix.

    `floor(min(shape) * (1 - unfreeze_rank_ratio))`, and at least one direction is left to train, in floating-point
    numbers as they round on every backend. 0 means that nothing is protected.
    """
    full = min(shape[-2:])
    return min(math.floor(full * (1.0 - unfreeze_rank_ratio)), full - 1)


def target_layers(model: PreTrainedModel, patterns: Sequence[str] | None = None) -> list[str]:
    """Names of the linear layers that OSFT splits, in the order of the model.

    A layer is meant when a pattern occurs anywhere in the name of its weight (`model.layers.0.mlp.up_proj.weight`).
    Without patterns it is every linear layer of the language model's repeated layers: attention, feed-forward parts,
    latent and fused projections, whatever they are called. Left out are a layer whose forward pass is its own (a
    router), one whose weight a kernel may read past the layer (`out_proj` of a state space), and one that shares its
    weight with another (a tied `lm_head`).

    Args:
        model: The plain model; its weights may be on the meta device.
        patterns: Parts of weight names. None or empty: see above.

    Raises:
        ParameterError: Nothing matches, or one of the given patterns matches nothing; with the names that there are.
    """
    linear = [name for name, module in model.named_modules() if is_called(model, name, module)]
    found = _matching(model, [f"{name}.weight" for name in linear], patterns, "torch.nn.Linear layers")
    return [name.removesuffix(".weight") for name in found]


def target_weights(model: PreTrainedModel, patterns: Sequence[str] | None = None) -> list[str]:
    """Names of all weights that OSFT could split: of linear layers, of GPT-2's Conv1D, and stacks of experts.

    For a framework that can split any parameter: `target_layers` gives those of layers that can be replaced.

    Args:
        model: The plain model; its weights may be on the meta device.
        patterns: Parts of weight names, as for `target_layers`.

    Raises:
        ParameterError: Nothing matches, or one of the given patterns matches nothing; with the names that there are.
    """
    return _matching(model, list(_matrices(model)), patterns, "matrices, and stacks of them")


def is_called(model: PreTrainedModel, name: str, module: nn.Module) -> bool:
    """Whether a module is a linear layer whose weight is used by calling it, and in no other way."""
    from torch import nn

    if not isinstance(module, nn.Linear) or not type(module).__name__.endswith("Linear"):
        return False
    parent, _, own = name.rpartition(".")
    mixer = model.get_submodule(parent)
    # Kernels of state spaces take the weights of what follows the input projection.
    return own == "in_proj" or not (hasattr(mixer, "A_log") and hasattr(mixer, "D"))


def _matrices(model: PreTrainedModel) -> Iterator[str]:
    from torch import nn

    for prefix, module in model.named_modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
            yield f"{prefix}.weight"
        elif not isinstance(module, nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield from (
                f"{prefix}.{name}"
                for name, parameter in module.named_parameters(recurse=False)
                if parameter.ndim == 3 and min(parameter.shape) > 1
            )


def _matching(model: PreTrainedModel, names: list[str], patterns: Sequence[str] | None, what: str) -> list[str]:
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    own = [name for name in names if uses[id(model.get_parameter(name))] == 1]
    if not patterns:
        # A head, and whatever else stands before and after the layers, is left as the method leaves it.
        found = [name for name in own if _in_a_layer(name) and not any(part in name for part in SEEING)]
        idle = [] if found else ["a number"]
    else:
        found = [name for name in own if any(pattern in name for pattern in patterns)]
        idle = [pattern for pattern in patterns if not any(pattern in name for name in own)]
    if found and not idle:
        return found
    # Two parts of a name tell `self_attn.k_proj` from `cross_attn.k_proj`; the number of the layer is left out.
    endings = sorted({_ending(name) for name in own})
    hint = nearest(idle[0], endings) if patterns else ""
    tied = " Layers that share their weight with another one cannot be split." if len(own) < len(names) else ""
    kind = str(getattr(model.config, "model_type", "") or "model")
    missing = f"has {' or '.join(map(repr, idle))} in its name" if patterns else "is one of several alike"
    raise ParameterError(
        f"target_patterns: no weight of this {kind} {missing}{hint}. OSFT splits {what}; the names of those here end "
        f"in: {', '.join(endings[:20]) or '(there are none)'}{', ...' if len(endings) > 20 else ''}.{tied}"
    )


def _in_a_layer(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _ending(name: str) -> str:
    parts: list[Any] = [part for part in name.removesuffix(".weight").split(".") if not part.isdigit()]
    return ".".join(parts[-2:])
