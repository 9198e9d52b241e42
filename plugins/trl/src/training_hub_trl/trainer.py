"""TRL's trainer, with the order of rows, the validation loss, the saving and the events that the hub promises."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import (
    AutoConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from training_hub.runs.events import EventLog
from training_hub_trl.old_trl import lacks_loss, model_loss
from training_hub_trl.osft import dense_state_dict, keep_update_outside
from training_hub_trl.rows import Splits


class EpochOrder(Sampler[int]):
    """A new permutation of the real rows in each epoch, then the rows that fill up the last batch.

    The order depends on seed and epoch alone, so that one process and several see the same effective batches.
    """

    def __init__(self, real: int, total: int, seed: int) -> None:
        self.real = real
        self.total = total
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(self.real, generator=generator).tolist()
        yield from range(self.real, self.total)


class HubTrainer(SFTTrainer):
    """`SFTTrainer` on rows that the hub has made."""

    def __init__(
        self,
        model: Any,
        args: SFTConfig,
        tokenizer: PreTrainedTokenizerBase,
        rows: Splits,
        job: dict[str, Any],
        events: EventLog,
    ) -> None:
        self.rows = rows
        self.job = job
        self.events = events
        values = job["values"]
        self.base_config = AutoConfig.from_pretrained(
            values["model_path"], trust_remote_code=values["trust_remote_code"]
        )
        self.tokens = 0
        self._uncounted: torch.Tensor | int = 0
        super().__init__(
            model=model,
            args=args,
            train_dataset=rows.train,
            eval_dataset=rows.validation,
            processing_class=tokenizer,
        )
        # It prints each figure; whoever wants to read them follows the events.
        self.remove_callback(PrinterCallback)
        self.add_callback(Saving(job["values"], rows))
        self.reporter = Reporter(self)
        self.add_callback(self.reporter)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return EpochOrder(self.rows.train_count, len(self.rows.train), self.args.seed)

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """All trained weights decay, as in the other backends; transformers would leave out norms and biases."""
        return [name for name, _ in model.named_parameters()]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model) if model is not None else super().create_optimizer()
        if self.job["algorithm"] == "osft":
            keep_update_outside(optimizer, self.model)
        return optimizer

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if lacks_loss(self.args.device):
            return model_loss(self, model, inputs, *args, **kwargs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        mask = inputs.get("attention_mask")
        self._uncounted += inputs["input_ids"].numel() if mask is None else mask.sum()
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the tokens of all processes counted; it is called by all of them."""
        count = torch.as_tensor(self._uncounted, device=self.args.device)
        self.tokens += int(self.accelerator.reduce(count, "sum"))
        self._uncounted = 0
        super().log(logs, *args, **kwargs)

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
        per_row = self.rows.validation_tokens / len(self.rows.validation)
        scale = torch.tensor(in_batch * per_row * self.accelerator.num_processes, device=self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=scale)
        return loss.detach(), None, None

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: the manifest of the run says what was trained, and how."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model)
        if self.job["algorithm"] == "lora_sft":
            super()._save(str(directory), state_dict)
        elif self.args.should_save:
            if self.job["algorithm"] == "osft":
                state_dict, model = dense_state_dict(model), model.get_base_model()
            weights = model.state_dict() if state_dict is None else state_dict
            _save_plain(model, directory, weights, self.base_config)
            self.processing_class.save_pretrained(directory)
        # A pickle; the manifest holds the arguments.
        (directory / "training_args.bin").unlink(missing_ok=True)

    def save_final(self, directory: Path) -> Path:
        """Save the trained model on its own, without what is needed only to go on training."""
        self.save_model(str(directory))
        if self.is_world_process_zero():
            self.events.emit("save", step=self.state.global_step, checkpoint=str(directory))
        return directory

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint of this run."""
        found = Path(self.args.output_dir).glob("checkpoint-*")
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def final_metrics(self) -> dict[str, Any]:
        """The figures of the end of training."""
        return self.reporter.final()


def _save_plain(model: Any, directory: Path, weights: dict[str, torch.Tensor], base: PretrainedConfig) -> None:
    """Save a dense model in the precision and with the settings that its base was saved with."""
    kind = getattr(base.get_text_config(), "dtype", None)
    if isinstance(kind, torch.dtype):
        weights = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    model.save_pretrained(directory, state_dict=weights)
    config = deepcopy(model.config)
    config.dtype, config.use_cache = kind, getattr(base, "use_cache", True)
    config.save_pretrained(directory)


class Saving(TrainerCallback):
    """Says when to save: at epochs, by steps, by rows, when the validation loss improves."""

    def __init__(self, values: dict[str, Any], rows: Splits) -> None:
        self.values = values
        self.rows = rows
        self.best = math.inf
        self.rows_seen = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        every = self.values.get("save_steps")
        if every and state.global_step % every == 0:
            control.should_save = True
        if by_rows := self.values.get("save_samples"):
            before = self.rows_seen
            self.rows_seen = rows_seen(state, self.rows, args)
            if self.rows_seen // by_rows > before // by_rows:
                control.should_save = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.values["checkpoint_at_epoch"]:
            control.should_save = True
        return control

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> TrainerControl:
        loss = metrics.get("eval_loss", math.inf)
        if self.values["save_best_val_loss"] and loss < self.best - self.values["val_loss_improvement_threshold"]:
            self.best = loss
            control.should_save = True
            # Named so, it is not deleted when older checkpoints make room for newer ones.
            state.best_metric = loss
            state.best_global_step = state.global_step
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        return control


def rows_seen(state: TrainerState, rows: Splits, args: TrainingArguments) -> int:
    """Real rows trained on so far; the last step of an epoch may have fewer than the others."""
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    per_epoch = math.ceil(rows.train_count / batch)
    epochs, steps = divmod(state.global_step, per_epoch)
    return epochs * rows.train_count + min(steps * batch, rows.train_count)


class Reporter(TrainerCallback):
    """Turns what the trainer tells its callbacks into events."""

    def __init__(self, trainer: HubTrainer) -> None:
        self.trainer = trainer
        self.last: dict[str, Any] = {}
        self.began = self.logged = time.perf_counter()
        self.tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.began = self.logged = time.perf_counter()
        if state.is_world_process_zero:
            self.trainer.events.emit(
                "start",
                algorithm=self.trainer.job["algorithm"],
                backend=self.trainer.job["backend"],
                rows=self.trainer.rows.train_count,
                max_steps=state.max_steps,
                num_epochs=state.num_train_epochs,
                world_size=args.world_size,
                effective_batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        now = time.perf_counter()
        tokens = self.trainer.tokens
        speed = (tokens - self.tokens) / (now - self.logged) if now > self.logged else None
        self.tokens, self.logged = tokens, now
        self.last = {
            "step": state.global_step,
            "max_steps": state.max_steps,
            "epoch": state.epoch,
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens": tokens,
            "tokens_per_second": speed,
        }
        self.trainer.events.emit("step", **self.last, framework=logs)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        self.last["validation_loss"] = metrics.get("eval_loss")
        if state.is_world_process_zero:
            self.trainer.events.emit(
                "eval", step=state.global_step, epoch=state.epoch, validation_loss=metrics.get("eval_loss")
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.trainer.events.emit("save", step=state.global_step, checkpoint=str(path))

    def final(self) -> dict[str, Any]:
        """The last step's figures, and the run's length."""
        seconds = self.logged - self.began
        overall = {"seconds": seconds, "tokens_per_second": self.tokens / seconds if seconds > 0 else None}
        return {**self.last, **overall}
