"""The exact weights of training, for checkpoints whose model is saved in another form or in a lower precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NAME = "exact_weights.safetensors"


def save_exact(model: nn.Module, directory: Path) -> None:
    """Save every parameter and buffer as it is; of OSFT the factors and what they are projected by."""
    save_file({name: tensor.detach().contiguous() for name, tensor in _tensors(model)}, directory / NAME)


@torch.no_grad()
def load_exact(model: nn.Module, directory: Path) -> bool:
    """Put saved weights back; False where the checkpoint needs none beside its model.

    Raises:
        KeyError: They are those of another model.
    """
    path = directory / NAME
    if not path.exists():
        return False
    saved = load_file(path)
    for name, tensor in _tensors(model):
        tensor.copy_(saved[name])
    return True


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each tensor once, under its first name, whether or not PyTorch would keep it in a state dict."""
    yield from model.named_parameters()
    yield from model.named_buffers()
