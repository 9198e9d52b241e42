"""Learning from pairs by TRL's trainer: the loss and the figures over all pairs of a batch, however that is cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from training_hub_trl.dpo.collation import PairCollator, without_filling
from training_hub_trl.dpo.reference import load_reference
from training_hub_trl.dpo.splits import PairSplits
from training_hub_trl.hub_trainer import HubTrainer
from training_hub_trl.trainer_loop import TrainerLoop


class HubDPOTrainer(HubTrainer, DPOTrainer):
    """`DPOTrainer` in the hub."""

    rows: PairSplits
    loss_weights: list[float]
    figures: ClassVar[Mapping[str, str]] = {
        "reward_margin": "rewards/margins",
        "reward_accuracy": "rewards/accuracies",
        "reward_chosen": "rewards/chosen",
        "reward_rejected": "rewards/rejected",
    }

    def __init__(
        self,
        model: Any,
        args: DPOConfig,
        tokenizer: PreTrainedTokenizerBase,
        rows: PairSplits,
        loop: TrainerLoop,
    ) -> None:
        """Make it, with the reference that the job asks for; the arguments are those of the hub's trainer."""
        self._pairs: dict[str, list[int]] = defaultdict(list)
        """Real pairs of each forward pass since figures were last logged, by `train` and `eval`."""
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        super().__init__(
            model,
            args,
            tokenizer,
            rows,
            loop,
            ref_model=load_reference(loop.job, model),
            data_collator=PairCollator(pad_token_id=padding, pad_to_multiple_of=args.pad_to_multiple_of),
        )
        # Of a model with an adapter TRL takes a copy of that for the reference; one that is new is the base without it.
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")
        if self.job.parameters["precompute_reference"]:
            self.train_dataset = self._with_reference(rows.train)
            if rows.validation is not None:
                self.eval_dataset = self._with_reference(rows.validation)
            # Its memory is given back when training begins, once nothing holds it.
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
        """The mean over the batch's pairs; in training, its share of that over all pairs of the step.

        DDP takes the mean of this over processes, and the trainer that over forward passes.
        """
        inputs, pairs = without_filling(inputs)
        training = self.model.training
        self._pairs["train" if training else "eval"].append(pairs)
        all_pairs, all_tokens = self._of_step() if training else self._of_validation()
        part = 1.0
        if pairs and "sft" in self.loss_types:
            # That loss is a mean over tokens: what this batch has of them, where its pairs say how much it counts.
            part = int(inputs["completion_mask"][:pairs].sum()) / all_tokens * all_pairs / pairs
        with _without_gathering(self.accelerator), self._sft_weighted(part):
            loss: torch.Tensor = super().compute_loss(model, inputs)
        if not training:
            return loss
        share = pairs * self.args.world_size * self.current_gradient_accumulation_steps / all_pairs
        # Untouched where it is 1: then the loss is TRL's own, to the last bit.
        return loss if share == 1 else loss * share

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        """The batch's share of the mean over all validation pairs; the evaluation loop takes one over all rows."""
        assert self.rows.validation is not None
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        share = inputs["pairs"] / inputs["rows"] * (len(self.rows.validation) / self.rows.validation_count)
        return (loss if share == 1 else loss * share).detach(), None, None

    def _of_step(self) -> tuple[int, int]:
        """Pairs of the step at hand, over all processes and passes, and tokens of their chosen answers."""
        rows = self.loop.order.rows_of(self.state.global_step + 1)
        return len(rows), sum(self.rows.chosen_tokens[row] for row in rows)

    def _of_validation(self) -> tuple[int, int]:
        return self.rows.validation_count, self.rows.validation_tokens

    @contextmanager
    def _sft_weighted(self, part: float) -> Iterator[None]:
        given = self.loss_weights
        self.loss_weights = [
            weight * part if name == "sft" else weight for name, weight in zip(self.loss_types, given, strict=True)
        ]
        try:
            yield
        finally:
            self.loss_weights = given

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log figures, TRL's own averaged over the pairs of all processes."""
        self._average("train" if self.model.training else "eval")
        super().log(logs, *args, **kwargs)

    def _average(self, mode: str) -> None:
        figures, pairs = self._metrics[mode], self._pairs.pop(mode, [])
        # The hub counts tokens, without those that only fill up.
        figures.pop("num_tokens", None)
        if not figures or (self.args.world_size == 1 and len(set(pairs)) == 1):
            return
        names = sorted(figures)
        sums = [sum(weight * value for weight, value in zip(pairs, figures[name], strict=True)) for name in names]
        *sums, count = self._over_processes([*sums, float(sum(pairs))])
        figures.update({name: [value / count] for name, value in zip(names, sums, strict=True)})

    def _over_processes(self, numbers: list[float]) -> list[float]:
        if self.args.world_size == 1:
            return numbers
        packed = torch.tensor(numbers, dtype=torch.float64, device=self.args.device)
        found: list[float] = self.accelerator.reduce(packed, "sum").tolist()
        return found


@contextmanager
def _without_gathering(accelerator: Any) -> Iterator[None]:
    """While TRL computes a loss: it gathers a dozen figures, which must be as many on each process, in every pass.

    `HubDPOTrainer.log` does so once, and by the pairs that each process had.
    """
    accelerator.gather = accelerator.gather_for_metrics = lambda data, *args, **kwargs: data
    try:
        yield
    finally:
        # Those of the class come back.
        del accelerator.gather, accelerator.gather_for_metrics
