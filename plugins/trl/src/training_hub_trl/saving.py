"""Saves dense models: in the precision and with the settings that their base was saved with."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig


def saved_dtype(base: PretrainedConfig) -> torch.dtype | None:
    """The precision that a model was saved with, where its configuration says."""
    found = getattr(base.get_text_config(), "dtype", None)
    return found if isinstance(found, torch.dtype) else None


def save_dense(model: Any, directory: Path, weights: dict[str, torch.Tensor], base: PretrainedConfig) -> None:
    """Save a model that transformers loads alone.

    Args:
        model: Whose class and configuration are saved.
        directory: Where.
        weights: Its weights, by their names in it.
        base: The configuration of the model that training started from.
    """
    kind = saved_dtype(base)
    if kind is not None:
        weights = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    model.save_pretrained(directory, state_dict=weights)
    config = deepcopy(model.config)
    config.dtype, config.use_cache = kind, getattr(base, "use_cache", True)
    if getattr(base.get_text_config(), "output_router_logits", False):
        config.get_text_config().output_router_logits = True
    config.save_pretrained(directory)


def held_bytes(model: torch.nn.Module) -> int:
    """About how many bytes a checkpoint of a model takes, with the optimizer's state."""
    # AdamW keeps two numbers beside each trained weight.
    return sum(int(p.numel() * p.element_size() * (3 if p.requires_grad else 1)) for p in model.parameters())
