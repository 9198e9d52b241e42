"""Saves dense models: weights first, then the settings, all as their base has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from training_hub.plugin import like_base, precisions


def save_dense(model: Any, directory: Path, weights: dict[str, torch.Tensor] | None, base: Path | None) -> None:
    """Save a model that transformers loads alone. Whatever fails, it is after the weights were saved.

    Args:
        model: Whose class and configuration are saved.
        directory: Where.
        weights: Its weights, by their names in it; None where it saves them in a form of its own.
        base: Where the files of the model lie that training started from, if they are to be had.
    """
    save_weights(model, directory, weights, base)
    save_settings(model, directory, base)


def save_weights(model: Any, directory: Path, weights: dict[str, torch.Tensor] | None, base: Path | None) -> None:
    """Save the weights of a model, each in the precision of its base; see `save_dense`."""
    if weights is not None and base is not None:
        weights = _rounded(weights, _first_names(model), precisions(base))
    with _without_settings(model):
        model.save_pretrained(directory, state_dict=weights)


def save_settings(model: Any, directory: Path, base: Path | None) -> None:
    """Save what goes with the weights of a model, as its base has it; see `save_dense`."""
    model.config.to_json_file(directory / "config.json")
    if base is not None:
        like_base(directory, base)


def _rounded(
    weights: Mapping[str, torch.Tensor], first_names: Mapping[str, str], kinds: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """The weights in the precisions of the base. Those that are tied still are: one tensor under two names.

    Where a base mixes precisions, and names a weight otherwise than it is named here, that one is rounded once it is
    saved, under the base's name.
    """
    every = set(kinds.values())
    usual = every.pop() if len(every) == 1 else None
    done: dict[str, torch.Tensor] = {}
    rounded = {}
    for name, tensor in weights.items():
        first = first_names.get(name, name)
        if first not in done:
            kind = kinds.get(first) or kinds.get(name) or usual
            done[first] = tensor.to(getattr(torch, kind)) if kind and tensor.is_floating_point() else tensor
        rounded[name] = done[first]
    return rounded


def _first_names(model: torch.nn.Module) -> dict[str, str]:
    """The first name of each weight by all that it has."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


class _Unsaved:
    """Settings that are not saved."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None: ...


@contextmanager
def _without_settings(model: Any) -> Iterator[None]:
    """Have `save_pretrained` save weights alone. For transformers 5.

    It would save settings first, and refuse some that it has loaded without a word: the weights would be lost.
    """
    config, generation = model.config, getattr(model, "generation_config", None)
    dtype, architectures = config.dtype, config.architectures
    config.save_pretrained = _Unsaved().save_pretrained
    model.generation_config = _Unsaved()
    try:
        yield
    finally:
        del config.save_pretrained
        config.dtype, config.architectures, model.generation_config = dtype, architectures, generation


def held_bytes(model: torch.nn.Module) -> int:
    """About how many bytes a checkpoint of a model takes, with the optimizer's state."""
    # AdamW keeps two numbers beside each trained weight.
    return sum(int(p.numel() * p.element_size() * (3 if p.requires_grad else 1)) for p in model.parameters())
