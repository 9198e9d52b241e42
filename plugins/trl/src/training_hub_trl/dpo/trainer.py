"""Learning from pairs by TRL's trainer: the loss and the figures over all pairs of a batch, however that is cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from training_hub_trl.dpo.collation import PairCollator, without_filling
from training_hub_trl.dpo.splits import PairSplits
from training_hub_trl.hub_trainer import HubTrainer


class HubDPOTrainer(HubTrainer, DPOTrainer):
    """`DPOTrainer` in the hub."""

    rows: PairSplits

    def __init__(
        self,
        model: Any,
        args: DPOConfig,
        tokenizer: PreTrainedTokenizerBase,
        rows: PairSplits,
        reference: Any = None,
        *,
        precompute: bool = False,
        **own: Any,
    ) -> None:
        """Args:
        model: What is trained, loaded.
        args: The trainer's arguments.
        tokenizer: The model's.
        rows: Training and validation pairs.
        reference: The model that the trained one is held to; None is the base under an adapter.
        precompute: Whether the reference is asked once, now, and then no more.
        **own: As of the hub's trainer.
        """
        self._pairs: dict[str, list[int]] = defaultdict(list)
        """Real pairs of each forward pass since figures were last logged, by `train` and `eval`."""
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        super().__init__(
            model,
            args,
            tokenizer,
            rows,
            ref_model=reference,
            data_collator=PairCollator(pad_token_id=padding, pad_to_multiple_of=args.pad_to_multiple_of),
            **own,
        )
        # Of a model with an adapter TRL takes a copy of that for the reference; one that is new is the base without it.
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")
        if precompute:
            self.train_dataset = self._with_reference(self.train_dataset)
            if self.eval_dataset is not None:
                self.eval_dataset = self._with_reference(self.eval_dataset)
            self.precompute_ref_logps, self.ref_model = True, None

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """The rows are tokens already."""
        return dataset

    def _with_reference(self, pairs: Dataset) -> Dataset:
        """Pairs with the reference's log-probabilities of both answers."""
        model = self.ref_model or self.model
        found = [
            self.accelerator.gather(torch.stack(self.compute_ref_log_probs(model, batch), dim=1)).cpu()
            for batch in self.get_eval_dataloader(pairs)
        ]
        # Behind the rows some may come again, that each process had as many.
        chosen, rejected = torch.cat(found)[: len(pairs)].float().unbind(dim=1)
        return pairs.add_column("ref_chosen_logps", chosen.tolist()).add_column("ref_rejected_logps", rejected.tolist())

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        plain = {name: value for name, value in inputs.items() if name not in ("rows", "pairs")}
        found: tuple[torch.Tensor, torch.Tensor] = super().compute_ref_log_probs(model, plain)
        return found

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """The batch's share of the mean over all pairs of the step, or of the validation.

        DDP takes the mean of this over processes, the trainer that over forward passes; the evaluation loop one over
        all rows, those included that only fill up.
        """
        inputs, pairs = without_filling(inputs)
        training = self.model.training
        self._pairs["train" if training else "eval"].append(pairs)
        all_pairs, all_tokens = self._of_step() if training else self._of_validation()
        tokens = int(inputs["completion_mask"][: max(pairs, 1)].sum()) if "sft" in self.loss_types else 0
        with _without_gathering(self.accelerator), self._weighted(tokens * all_pairs, all_tokens * pairs):
            loss: torch.Tensor = super().compute_loss(model, inputs)
        share = pairs * self._means(training) / all_pairs
        # Untouched where it is 1: then the figures are TRL's own, to the last bit.
        return loss if share == 1 else loss * share

    def _of_step(self) -> tuple[int, int]:
        """Pairs of the step at hand, over all processes and passes, and tokens of their chosen answers."""
        rows = self.loop.order.rows_of(self.state.global_step + 1)
        return len(rows), sum(self.rows.chosen_tokens[row] for row in rows)

    def _of_validation(self) -> tuple[int, int]:
        return self.rows.validation_count, self.rows.validation_tokens

    def _means(self, training: bool) -> float:
        """What the mean is taken over of that which `compute_loss` returns."""
        ...
