"""Supervised fine-tuning by TRL's trainer: the loss over all trained tokens of a batch, and of all validation rows."""

from __future__ import annotations

from typing import Any

import torch
from trl import SFTTrainer

from training_hub_trl.hub_trainer import HubTrainer
from training_hub_trl.old_trl import lacks_loss, model_loss
from training_hub_trl.osft import is_decomposed, keep_update_outside


class HubSFTTrainer(HubTrainer, SFTTrainer):
    """`SFTTrainer` in the hub."""

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model) if model is not None else super().create_optimizer()
        if is_decomposed(self.model):
            keep_update_outside(optimizer, self.model)
        return optimizer

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if lacks_loss(self.args.device):
            return model_loss(self, model, inputs, *args, **kwargs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        """The batch's share of the loss over all validation tokens.

        The evaluation loop takes a mean over rows of what this returns. So that this mean is the mean over trained
        tokens, a batch's sum is divided by its rows times the trained tokens per row of the whole set.
        """
        inputs = self._prepare_inputs(inputs)
        assert self.rows.validation is not None
        in_batch = inputs["labels"].shape[0]
        per_row = self.rows.validation_count / len(self.rows.validation)
        scale = torch.tensor(in_batch * per_row * self.accelerator.num_processes, device=self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=scale)
        return loss.detach(), None, None
