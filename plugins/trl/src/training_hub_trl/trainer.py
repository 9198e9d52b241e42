"""TRL's trainer, with the order of rows, validation loss, checkpoints, control_reader and events that the hub promises."""

from __future__ import annotations

import errno
import math
import shutil
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

from training_hub.errors import TrainingFailedError
from training_hub.store.checkpoints import complete, make_room, newest, place, seal
from training_hub.store.control import ControlReader, Orders
from training_hub.store.directory import RunDirectory, size
from training_hub.store.events import SCHEMA
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.control import orders_on_every_rank, set_learning_rate
from training_hub.worker.finite import check_finite
from training_hub_trl.old_trl import lacks_loss, model_loss
from training_hub_trl.osft import dense_state_dict, keep_update_outside
from training_hub_trl.rows import Splits
from training_hub_trl.state import load_exact, save_exact


class EpochOrder(Sampler[int]):
    """A new permutation of the real rows in each epoch, then the rows that fill up the last batch.

    The order depends on seed and epoch alone, so that one process and several see the same effective batches.
    """

    def __init__(self, real: int, total: int, seed: int) -> None:
        self.real = real
        self.total = total
        self.seed = seed
        self.epoch = 0
        """The epoch at hand, counted from 0. Set by the trainer: accelerate's loaders lose count in a resumed one."""

    def __len__(self) -> int:
        return self.total

    def rows(self, epoch: int, first: int, last: int) -> list[int]:
        """The real rows at places `first` to `last` - 1 of an epoch."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        found: list[int] = torch.randperm(self.real, generator=generator).tolist()
        return found[first:last]

    def __iter__(self) -> Iterator[int]:
        yield from self.rows(self.epoch, 0, self.real)
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
        ranks: RankCallbacks,
    ) -> None:
        self.rows = rows
        self.job = job
        self.ranks = ranks
        self.events = ranks.events
        values = job["values"]
        self.base_config = AutoConfig.from_pretrained(
            values["model_path"], trust_remote_code=values["trust_remote_code"]
        )
        self.directory = RunDirectory(Path(job["directory"]))
        self.control_reader = ControlReader(self.directory)
        self.resumed = complete(Path(job["resume"])) if job["resume"] else None
        self.stopped = False
        """Whether training was asked to end before its last step."""
        self.tokens = self.resumed.facts["tokens"] if self.resumed else 0
        self._uncounted: torch.Tensor | int = 0
        self.order = EpochOrder(rows.train_count, len(rows.train), args.seed)
        super().__init__(
            model=model,
            args=args,
            train_dataset=rows.train,
            eval_dataset=rows.validation,
            processing_class=tokenizer,
        )
        # It prints each figure; whoever wants to read them follows the events.
        self.remove_callback(PrinterCallback)
        self.saving = Saving(self)
        self.add_callback(self.saving)
        self.reporter = Reporter(self)
        self.add_callback(self.reporter)
        # After the reporter, whose events it passes on.
        self.add_callback(Meeting(self))

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self.order

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
        self._count()
        if not math.isfinite(logs.get("loss", 0.0)):
            self._not_finite(logs["loss"])
        super().log(logs, *args, **kwargs)

    def _count(self) -> None:
        if self.accelerator.num_processes > 1:
            count = torch.as_tensor(self._uncounted, device=self.args.device)
            self._uncounted = self.accelerator.reduce(count, "sum")
        self.tokens += int(self._uncounted)
        self._uncounted = 0

    def _not_finite(self, loss: float) -> None:
        """Say which step it was and which rows it saw; end the run, unless only a warning is asked for."""
        step, seen = self.state.global_step, None
        if not self.args.packing:
            batch = effective_batch(self.args)
            epoch, index = divmod(step - 1, steps_per_epoch(self.rows, self.args))
            seen = self.order.rows(epoch, index * batch, (index + 1) * batch)
        warning = check_finite(loss, step, seen, self.job["values"]["on_nan"])
        if self.is_world_process_zero():
            self.events.emit("warning", step=step, message=warning)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint that counts only once every process has written its part, and then make room."""
        step = self.state.global_step
        directory = place(self.directory.path, step)
        sealed = complete(directory)
        self.accelerator.wait_for_everyone()
        if sealed:
            return
        try:
            super()._save_checkpoint(*args, **kwargs)
        except Exception as error:
            raise self._unsaved(directory, error) from error
        self._count()
        self.accelerator.wait_for_everyone()
        if not self.is_world_process_zero():
            return
        facts = {"tokens": self.tokens, "best": self.saving.best, "best_step": self.saving.best_step}
        seal(directory, step, resumable=not self.args.save_only_model, **facts)
        self.events.emit("save", step=step, checkpoint=str(directory))
        if limit := self.saving.limit:
            make_room(self.directory.path, limit, spared={self.saving.best_step} - {None})

    def _unsaved(self, directory: Path, error: Exception) -> Exception:
        """The error to raise for one that came while saving; a disk that is full gets its figures."""
        needed = sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        # AdamW keeps two numbers beside each trained weight.
        needed += sum(2 * p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        free = shutil.disk_usage(self.directory.path).free
        if free >= needed and getattr(error, "errno", None) != errno.ENOSPC:
            return error
        shutil.rmtree(directory, ignore_errors=True)
        return TrainingFailedError(
            f"the checkpoint of step {self.state.global_step} could not be saved: no space left on device; it needs "
            f"about {size(needed)}, and {self.directory.path} had {size(free)} left. Older checkpoints are as they were"
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if not load_exact(model or self.model, Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

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
            if not self.is_fsdp_enabled and _resumes(directory) and self._saves_rounded():
                directory.mkdir(parents=True, exist_ok=True)
                save_exact(model, directory)
            if self.job["algorithm"] == "osft":
                state_dict, model = dense_state_dict(model), model.get_base_model()
            weights = model.state_dict() if state_dict is None else state_dict
            _save_plain(model, directory, weights, self.base_config)
            self.processing_class.save_pretrained(directory)
        # A pickle; the manifest holds the arguments.
        (directory / "training_args.bin").unlink(missing_ok=True)

    def _saves_rounded(self) -> bool:
        """Whether the model that is saved does not hold the weights of training as they are."""
        kind = getattr(self.base_config.get_text_config(), "dtype", None)
        return self.job["algorithm"] == "osft" or kind not in (None, torch.float32)

    def save_final(self, directory: Path) -> Path:
        """Save the trained model on its own, without what is needed only to go on training."""
        self.save_model(str(directory))
        if self.is_world_process_zero():
            self.events.emit("save", step=self.state.global_step, checkpoint=str(directory))
        return directory

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint of this run."""
        found = newest(self.directory.path)
        return found.path if found else None

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


def _resumes(directory: Path) -> bool:
    return directory.name.startswith("checkpoint-")


class Saving(TrainerCallback):
    """Says when to save and when to stop: at epochs, by steps, by rows, on a better validation loss, when asked."""

    def __init__(self, trainer: HubTrainer) -> None:
        self.trainer = trainer
        self.values = values = trainer.job["values"]
        self.limit: int | None = 1 if values["keep_last_checkpoint_only"] else values.get("save_total_limit")
        """Most checkpoints to keep, the best one not counted."""
        facts = trainer.resumed.facts if trainer.resumed else {}
        self.best: float = facts.get("best") if facts.get("best") is not None else math.inf
        self.best_step: int | None = facts.get("best_step")

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.order.epoch = state.global_step // steps_per_epoch(self.trainer.rows, args)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        every = self.values.get("save_steps")
        if every and state.global_step % every == 0:
            control.should_save = True
        if by_rows := self.values.get("save_samples"):
            before, now = (
                rows_seen(step, self.trainer.rows, args) for step in (state.global_step - 1, state.global_step)
            )
            if now // by_rows > before // by_rows:
                control.should_save = True
        if orders := orders_on_every_rank(self.trainer.control_reader, args.device):
            self._obey(orders, state, control)
        return control

    def _obey(self, orders: Orders, state: TrainerState, control: TrainerControl) -> None:
        if orders.learning_rate is not None:
            set_learning_rate(orders.learning_rate, self.trainer.optimizer, self.trainer.lr_scheduler)
        if orders.save:
            control.should_save = True
        # A run whose last step is done has nothing left to stop.
        if orders.stop and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = self.trainer.stopped = True
            control.should_evaluate = False
            if state.is_world_process_zero:
                self.trainer.events.emit("stop", step=state.global_step, reason=self.trainer.control_reader.reason)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.trainer.stopped:
            control.should_save = control.should_evaluate = False
        elif self.values["checkpoint_at_epoch"]:
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
            self.best, self.best_step = loss, state.global_step
            control.should_save = True
        return control


class Meeting(TrainerCallback):
    """Where all ranks meet, for the callbacks that run on them."""

    def __init__(self, trainer: HubTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.ranks.begin(self.trainer.model_wrapped, self.trainer.processing_class, args.device)
        self.trainer.ranks.meet()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.ranks.meet()


def effective_batch(args: TrainingArguments) -> int:
    """Rows of an optimizer step, over all processes and micro-batches."""
    return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)


def steps_per_epoch(rows: Splits, args: TrainingArguments) -> int:
    return math.ceil(rows.train_count / effective_batch(args))


def rows_seen(step: int, rows: Splits, args: TrainingArguments) -> int:
    """Real rows trained on after a step; the last step of an epoch may have fewer than the others."""
    epochs, steps = divmod(step, steps_per_epoch(rows, args))
    return epochs * rows.train_count + min(steps * effective_batch(args), rows.train_count)


class Reporter(TrainerCallback):
    """Turns what the trainer tells its callbacks into events."""

    def __init__(self, trainer: HubTrainer) -> None:
        self.trainer = trainer
        self.last: dict[str, Any] = {}
        self.began = self.logged = time.perf_counter()
        self.tokens = self.tokens_before = trainer.tokens
        self.told = trainer.resumed.step if trainer.resumed else 0
        """The last step that was reported."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.began = self.logged = time.perf_counter()
        if state.is_world_process_zero:
            self.trainer.events.emit(
                "start",
                schema=SCHEMA,
                algorithm=self.trainer.job["algorithm"],
                backend=self.trainer.job["backend"],
                rows=self.trainer.rows.train_count,
                max_steps=state.max_steps,
                num_epochs=state.num_train_epochs,
                world_size=args.world_size,
                effective_batch_size=effective_batch(args),
                resumed_from=self.trainer.resumed.step if self.trainer.resumed else None,
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # A step whose figures are logged is told with them, in on_log.
        if not control.should_log and state.is_world_process_zero:
            self._tell(step=state.global_step, max_steps=state.max_steps, epoch=state.epoch)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        done, rest = divmod(state.global_step, steps_per_epoch(self.trainer.rows, args))
        if not rest and state.is_world_process_zero:
            self.trainer.events.emit("epoch", epoch=done, step=state.global_step)

    def _tell(self, **figures: Any) -> None:
        # At the end of training transformers logs once more.
        if figures["step"] > self.told:
            self.told = figures["step"]
            self.trainer.events.emit("step", **figures)

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
        self._tell(**self.last, framework=logs)

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

    def final(self) -> dict[str, Any]:
        """The last step's figures, and the run's length."""
        seconds = self.logged - self.began
        overall = {
            "seconds": seconds,
            "tokens_per_second": (self.tokens - self.tokens_before) / seconds if seconds > 0 else None,
        }
        return {**self.last, **overall}
