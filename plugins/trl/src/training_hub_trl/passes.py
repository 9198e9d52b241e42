"""How a process' rows of a step are cut into forward passes: by length, in real tokens. It changes no result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

_LAYER_SECONDS = 1e-3
"""What a layer's forward and backward pass cost however few tokens there are: the framework's own work."""
_ON_A_CPU, _ON_A_GPU = 4e10, 1e14
"""Operations a second of one process. All are orders of magnitude, which only weigh padding against passes."""


def tokens_worth_a_pass(model: Any, device: torch.device) -> int:
    """Tokens that are computed in the time that a further forward and backward pass costs, however short it is."""
    config = model.config.get_text_config()
    seconds = _LAYER_SECONDS * getattr(config, "num_hidden_layers", 1)
    head = model.get_output_embeddings()
    unused = 0 if head is None else head.weight.numel()
    weights = max(1, sum(weight.numel() for weight in model.parameters()) - unused)
    # Two operations a weight forward, four backward.
    return int(seconds * (_ON_A_CPU if device.type == "cpu" else _ON_A_GPU) / (6 * weights))


def cut(lengths: Sequence[int], *, limit: int, worth: int) -> list[list[int]]:
    """Cut rows into passes, the longest first.

    A pass takes a shorter row in while its padding costs less than a pass of its own would, and all fit.

    Args:
        lengths: Real tokens of each row.
        limit: Most tokens in a pass, padding included; a longer row has one of its own.
        worth: Tokens of padding that are worth a pass.

    Returns:
        Numbers of rows, by pass.
    """
    passes: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fits = passes and (len(passes[-1]) + 1) * longest <= limit
        if fits and longest - lengths[row] <= worth:
            passes[-1].append(row)
        else:
            passes.append([row])
            longest = lengths[row]
    return passes


def parts(batch: Mapping[str, torch.Tensor], *, limit: int, worth: int) -> Iterator[dict[str, torch.Tensor]]:
    """The rows of a padded batch, pass by pass, each padded to its own longest row.

    Args:
        batch: `input_ids`, `labels` and `attention_mask`, each (rows, tokens), padded on the right.
        limit: As of `cut`.
        worth: As of `cut`.
    """
    lengths = batch["attention_mask"].sum(-1).tolist()
    for rows in cut(lengths, limit=limit, worth=worth):
        longest = lengths[rows[0]]
        chosen = torch.tensor(rows, device=batch["input_ids"].device)
        yield {name: value[chosen, :longest] for name, value in batch.items()}
