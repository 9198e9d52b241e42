"""Whether a model keeps the rows of a packed sequence apart: tried on two short ones, before it is trained on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from training_hub.plugin import ParameterError

_LENGTHS = (24, 40)
"""Tokens of the two rows."""
_TOLERANCE = {torch.float32: 1e-4}
"""Of a logit, as a share of the largest; in half precision rounding alone makes more."""


@torch.no_grad()
def require_rows_apart(model: Any, collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]) -> None:
    """Refuse packing for a model in which a row sees the one before it, through a state or through attention.

    Args:
        model: What is to be trained.
        collate: Makes a batch of packed sequences, as in training.

    Raises:
        ParameterError: It is one.
    """
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    # Any tokens do, so long as rows differ.
    rows = [[(number * 7919 + length) % vocabulary for number in range(length)] for length in _LENGTHS]

    def logits(*several: list[int]) -> torch.Tensor:
        tokens = [token for row in several for token in row]
        batch = collate([{"input_ids": tokens, "labels": tokens, "seq_lengths": [len(row) for row in several]}])
        given = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
        del given["labels"]
        found: torch.Tensor = model(**given, use_cache=False).logits[0, -_LENGTHS[1] :]
        return found

    training = model.training
    model.eval()
    try:
        packed, alone = logits(*rows), logits(rows[1])
    except (ValueError, RuntimeError, TypeError) as error:
        raise ParameterError(f"sample_packing: this model takes no packed rows here: {error}; leave it out") from error
    finally:
        model.train(training)
    apart = float((packed - alone).abs().max() / alone.abs().max().clamp(min=1.0))
    if apart > _TOLERANCE.get(alone.dtype, 5e-2):
        raise ParameterError(
            f"sample_packing: in this model a row sees the one before it, which moves its logits by {apart:.1e} of the "
            "largest; leave it out"
        )
