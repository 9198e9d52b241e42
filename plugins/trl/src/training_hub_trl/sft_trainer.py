"""Supervised fine-tuning by TRL's trainer: the loss over all trained tokens of a batch, and of all validation rows."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from training_hub_trl.hub_trainer import HubTrainer
from training_hub_trl.old_trl import lacks_loss, model_loss
from training_hub_trl.osft import is_decomposed, keep_update_outside
from training_hub_trl.packing import require_rows_apart
from training_hub_trl.router_loss import RouterLoss


class HubSFTTrainer(HubTrainer, SFTTrainer):
    """`SFTTrainer` in the hub."""

    def __init__(self, model: Any, args: SFTConfig, *given: Any, **named: Any) -> None:
        """Make it; the arguments are those of the hub's trainer."""
        coefficient, args.router_aux_loss_coef = args.router_aux_loss_coef or 0.0, 0.0
        # TRL writes its coefficient into the model's config, which is saved.
        config = model.config.get_text_config()
        original = {name: value for name, value in vars(config).items() if name.startswith("router_aux_loss")}
        super().__init__(model, args, *given, **named)
        vars(config).update(original)
        # Unsloth packs for kernels of its own, and keeps logits to itself.
        if self.rows.packed and self.job.backend == "trl":
            with self.compute_loss_context_manager():
                require_rows_apart(self.model, self.data_collator)
        self.router_loss = RouterLoss(self.model, coefficient) if coefficient else None

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model) if model is not None else super().create_optimizer()
        if is_decomposed(self.model):
            keep_update_outside(optimizer, self.model)
        return optimizer

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        compute = partial(model_loss, self) if lacks_loss(self.args.device) else super().compute_loss
        found = compute(model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)
        if self.router_loss is None or not model.training:
            return found
        # Gradients are averaged over the processes, and the loss is a sum over them.
        balance = self.router_loss.of(inputs, num_items_in_batch) * self.accelerator.num_processes
        self._note_balance(balance.detach())
        return (found[0] + balance, found[1]) if return_outputs else found + balance

    def _note_balance(self, balance: torch.Tensor) -> None:
        """Keep the weighted balance for the log, where TRL takes a mean over forward passes and this is a sum."""
        passes = self.current_gradient_accumulation_steps
        self._metrics["train"]["aux_loss"].append(self.accelerator.gather(balance).mean().item() * passes)

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
