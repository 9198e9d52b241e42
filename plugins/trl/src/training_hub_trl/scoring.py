"""The loss of the tokens that are trained, from logits at their positions alone.

The layer that makes logits is given the hidden states of these positions only; what a model does to logits afterwards
(a scale, a soft cap) is its own. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 2048
"""Positions whose entropy is computed at once."""


@dataclass(frozen=True)
class Scores:
    """What the trained tokens of a batch add up to."""

    loss: Tensor
    """Sum of the cross-entropy, in nats."""
    count: int
    correct: int
    """Tokens that were the likeliest."""
    entropy: float
    """Sum of the entropy of what is predicted in their places, in nats."""


class TrainedPositions:
    """Lets a model make logits of some positions alone."""

    def __init__(self, model: Any) -> None:
        """Args:
        model: Any causal language model of transformers, with or without an adapter.
        """
        self._wanted: Tensor | None = None
        head = model.get_output_embeddings()
        if head is not None:
            head.register_forward_pre_hook(self._narrow)

    def score(self, model: Any, inputs: Mapping[str, Tensor]) -> Scores:
        """Compute the loss of a batch.

        Args:
            model: The model, as it is called: maybe wrapped for several processes.
            inputs: What it is called with, and `labels` (rows, tokens), -100 where nothing is trained.
        """
        given = dict(inputs)
        labels = given.pop("labels")
        # A token is predicted where the one before it is.
        targets = functional.pad(labels[:, 1:], (0, 1), value=-100)
        wanted = targets != -100
        self._wanted = wanted
        try:
            logits = model(**given, use_cache=False).logits
        finally:
            self._wanted = None
        if logits.shape[:2] == wanted.shape:
            logits = logits[wanted]
        return _scores(logits.flatten(0, -2).float(), targets[wanted])

    def _narrow(self, head: Any, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        wanted = self._wanted
        if wanted is None or given[0].shape[:-1] != wanted.shape:
            return None
        return (given[0][wanted][None], *given[1:])


def _scores(logits: Tensor, targets: Tensor) -> Scores:
    likely = logits.log_softmax(-1)
    loss = functional.nll_loss(likely, targets, reduction="sum")
    with torch.no_grad():
        correct = int((logits.argmax(-1) == targets).sum())
        entropy = -sum(float((part.exp() * part).sum()) for part in likely.split(CHUNK))
    return Scores(loss, len(targets), correct, entropy)
