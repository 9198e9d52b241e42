"""Supervised fine-tuning by TRL's trainer: the loss over all trained tokens of a batch, and of all validation rows."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from training_hub_trl.hub_trainer import HubTrainer
from training_hub_trl.old_trl import lacks_loss, model_loss
from training_hub_trl.osft import is_decomposed, keep_update_outside
from training_hub_trl.packing import require_rows_apart
from training_hub_trl.passes import parts, tokens_worth_a_pass
from training_hub_trl.router_loss import RouterLoss
from training_hub_trl.rules import asks_for_micro_batches
from training_hub_trl.scoring import TrainedPositions

_SCORES = ("tokens", "count", "correct", "entropy")
"""Of a step, what `scoring.Scores` says of its passes."""
_SUMS = (*_SCORES, "balance")


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
        # Unsloth has a loss of its own, and Liger's needs the labels.
        own_loss = self.job.backend == "trl" and not args.use_liger_kernel and args.label_smoothing_factor == 0
        self._positions = TrainedPositions(self.model) if own_loss and args.loss_type == "nll" else None
        self._worth = tokens_worth_a_pass(self.model, args.device)
        self._sums = dict.fromkeys(_SUMS, 0.0)

    @property
    def cuts(self) -> bool:
        """Whether the rows of a step are cut into passes here, rather than as the call says or by packing."""
        asked = asks_for_micro_batches(self.job.parameters)
        return self._positions is not None and not asked and not self.rows.packed

    def _parts(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The passes of a batch."""
        if not self.cuts:
            return [inputs]
        return list(parts(inputs, limit=self.job.parameters["max_tokens_per_gpu"], worth=self._worth))

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """A process' rows of a step, pass by pass; gradients are shared in the last one."""
        passes = self._parts(inputs)
        if self.is_fsdp_enabled:
            passes += self._missing_passes(passes)
        loss: Any = 0.0
        for number, part in enumerate(passes, 1):
            last = number == len(passes)
            with nullcontext() if last else self.accelerator.no_sync(model):
                loss = loss + super().training_step(model, part, num_items_in_batch)
        self._tell_sums("train")
        return loss

    def _missing_passes(self, passes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Passes of no trained token: sharded weights are gathered in each, by all processes alike."""
        count = torch.tensor(len(passes), device=self.args.device)
        missing = int(self.accelerator.gather(count).max()) - len(passes)
        shortest = {name: value[:1].clone() for name, value in passes[-1].items()}
        shortest["labels"].fill_(-100)
        return [dict(shortest) for _ in range(missing)]

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
        if self._positions is not None and not return_outputs:
            found: Any = self._own_loss(model, inputs, num_items_in_batch)
        else:
            compute = partial(model_loss, self) if lacks_loss(self.args.device) else super().compute_loss
            found = compute(model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)
        if self.router_loss is None or not model.training:
            return found
        # Gradients are averaged over the processes, and the loss is a sum over them.
        balance = self.router_loss.of(inputs, num_items_in_batch) * self.accelerator.num_processes
        self._sums["balance"] += float(balance.detach())
        return (found[0] + balance, found[1]) if return_outputs else found + balance

    def _own_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """The part of a batch in the mean over the trained tokens of a step."""
        assert self._positions is not None
        given = dict(inputs)
        mask = given.pop("attention_mask", None)
        # What follows a row changes nothing in it: without a mask attention is quicker.
        found = self._positions.score(model, given if mask is None or self.cuts else inputs)
        tokens = inputs["input_ids"].numel() if mask is None else int(mask.sum())
        for name, value in zip(_SCORES, (tokens, found.count, found.correct, found.entropy), strict=True):
            self._sums[name] += value
        if num_items_in_batch is None:
            return found.loss / max(1, found.count)
        # Gradients are averaged over the processes, and the loss is a sum over them.
        share = torch.as_tensor(num_items_in_batch).clamp(min=1) / self.accelerator.num_processes
        return found.loss / share

    def _tell_sums(self, mode: str) -> None:
        """Log figures of a step under TRL's names: of its trained tokens, over all processes."""
        if self._positions is None and self.router_loss is None:
            return
        sums = torch.tensor([self._sums[name] for name in _SUMS])
        self._sums = dict.fromkeys(_SUMS, 0.0)
        processes = self.accelerator.num_processes
        if processes > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device)).cpu()
        tokens, count, correct, entropy, balance = sums.tolist()
        if self.router_loss is not None and mode == "train":
            # TRL takes a mean over batches, and this is a sum.
            self._metrics[mode]["aux_loss"].append(balance / processes * self.current_gradient_accumulation_steps)
        if self._positions is None:
            return
        self._metrics[mode]["entropy"].append(entropy / max(1.0, count))
        self._metrics[mode]["mean_token_accuracy"].append(correct / max(1.0, count))
        if mode == "train":
            self._total_train_tokens += int(tokens)
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

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
        loss = torch.zeros((), device=self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for part in self._parts(inputs):
                loss += self.compute_loss(model, part, num_items_in_batch=scale).detach()
        self._tell_sums("eval")
        return loss, None, None
