"""The loss that keeps the experts of a mixture evenly used: off unless asked for, and then however batches are cut.

A framework weighs it by micro-batch, so that the same job learns something else with other micro-batches. Here it is a
property of a row, `E * sum(f_e * p_e)`: of E experts, `f_e` is how often a token of the row is sent to expert e, and
`p_e` how likely its router makes that, both over all layers, as in transformers. A step's loss is then
`sum(loss of a token + coefficient * balance of its row) / trained tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from peft import PeftModel
from torch import Tensor

from training_hub.plugin import ParameterError


class RouterLoss:
    """Weighs the balance of the rows of a batch, from what the model's routers say in the forward pass before."""

    def __init__(self, model: Any, coefficient: float) -> None:
        """Args:
        model: What is trained; its routers are listened to from now on.
        coefficient: The weight of the balance, beside that of the cross-entropy.

        Raises:
            ParameterError: The model has no such loss, or the coefficient is negative.
        """
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        config = plain.config.get_text_config()
        if not hasattr(config, "router_aux_loss_coef"):
            raise ParameterError(
                f"router_aux_loss_coef={coefficient}: {type(plain).__name__} has no router loss; leave it out"
            )
        if coefficient < 0:
            raise ParameterError(f"router_aux_loss_coef={coefficient}: expected a number of at least 0")
        self.coefficient = coefficient
        self._chosen = int(config.num_experts_per_tok)
        self._logits: list[Tensor] = []
        backbone = plain.base_model
        backbone.register_forward_pre_hook(_with_logits, with_kwargs=True)
        backbone.register_forward_hook(self._listen)

    def _listen(self, backbone: Any, given: Any, outputs: Any) -> None:
        found = getattr(outputs, "router_logits", None)
        self._logits = [layer for layer in found or () if layer is not None]

    def of(self, inputs: Mapping[str, Any], trained_tokens: Tensor | int | None) -> Tensor:
        """The weighted balance of the batch that the model has just seen, as a part of a step's loss.

        Args:
            inputs: The batch: `labels`, and `attention_mask` or, for packed rows, `position_ids`.
            trained_tokens: Of the whole step, over all processes; None: those of the batch.

        Raises:
            ParameterError: The installed transformers does not give this model's router logits.
        """
        if not self._logits:
            raise ParameterError(
                f"router_aux_loss_coef={self.coefficient}: the routers of this model tell nothing in the installed "
                f"transformers {transformers.__version__}; leave it out, or install another one"
            )
        rows, real = _rows(inputs)
        weights = torch.zeros(int(rows.max()) + 1, device=rows.device)
        # The first token of a sequence is no target.
        target = torch.nn.functional.pad(inputs["labels"][:, 1:] != -100, (1, 0)).reshape(-1)
        weights.index_add_(0, rows, target.float())
        total = target.sum().clamp(min=1) if trained_tokens is None else trained_tokens
        balances = _balances([layer.flatten(0, -2) for layer in self._logits], rows, real, len(weights), self._chosen)
        self._logits = []
        return self.coefficient * (weights * balances).sum() / total


def _with_logits(
    backbone: Any, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return given, named | {"output_router_logits": True}


def _rows(inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """For each token of a batch, run together: the number of its row, and 1 where it is no padding."""
    shape = inputs["labels"].shape
    if (mask := inputs.get("attention_mask")) is not None:
        numbers = torch.arange(shape[0], device=mask.device)[:, None].expand(shape)
        return numbers.reshape(-1), mask.reshape(-1).float()
    # A packed sequence: each row begins anew.
    positions = inputs["position_ids"].reshape(-1)
    return (positions == 0).cumsum(0) - 1, torch.ones_like(positions, dtype=torch.float32)


def _balances(layers: list[Tensor], rows: Tensor, real: Tensor, count: int, chosen: int) -> Tensor:
    """The balance of each of `count` rows, from the routers' logits (tokens, experts) of all layers."""
    experts = layers[0].shape[-1]
    likely = torch.zeros(count, experts, device=rows.device)
    sent = torch.zeros(count, experts, device=rows.device)
    for logits in layers:
        odds = logits.to(rows.device).float().softmax(-1)
        picked = torch.zeros_like(odds).scatter_(1, odds.topk(chosen, dim=-1).indices, 1.0)
        likely = likely.index_add(0, rows, odds * real[:, None])
        sent = sent.index_add(0, rows, picked * real[:, None])
    tokens = torch.zeros(count, device=rows.device).index_add(0, rows, real) * len(layers)
    return experts * (likely * sent).sum(-1) / tokens.clamp(min=1) ** 2
