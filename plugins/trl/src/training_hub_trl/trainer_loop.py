"""The hub's part in transformers' loop: what its callbacks tell becomes events, what is asked becomes its flags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training_hub.plugin import FrameworkLoop, Progress, RowOrder, check_finite
from training_hub_trl.order import EpochOrder
from training_hub_trl.splits import Splits


class TrainerLoop(FrameworkLoop, TrainerCallback):
    """Takes part in a trainer's loop, on every rank."""

    between_steps = False
    """Whether a step is done, and the next one has not begun."""

    def join(self, trainer: Trainer, rows: Splits, epochs: EpochOrder, figures: Mapping[str, str]) -> None:
        """Take part in the loop of a trainer, which is complete and has not begun.

        Args:
            trainer: The trainer.
            rows: What it trains on.
            epochs: The order that it trains on them in.
            figures: The algorithm's own, each with the name that the trainer logs it under.
        """
        self.trainer = trainer
        self.epochs = epochs
        self.packed = rows.packed
        self.figures = figures
        progress = Progress(rows.train_count, effective_batch(trainer.args), self.job.parameters["num_epochs"])
        self._rows = RowOrder(progress, rows.train_tokens, epochs.of)
        trainer.add_callback(self)

    def look(self, loss: float, step: int) -> None:
        if not self.packed:
            super().look(loss, step)
        # A row of several cannot be named.
        elif warning := check_finite(loss, step, None, self.job.parameters["on_nan"]):
            self.reporter.warn(warning, step)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._rows.progress.done = state.global_step
        self.begin(
            self.trainer.model_wrapped,
            self.trainer.processing_class,
            args.device,
            self._rows,
            by_epochs=args.max_steps <= 0,
            max_steps=state.max_steps,
        )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.epochs.epoch = state.global_step // self.progress.steps_per_epoch

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.callbacks.meet()
        self.between_steps = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.progress.done = state.global_step
        self.between_steps = True
        values = self.job.parameters
        every = values.get("save_steps")
        orders = self.obey(self.trainer.optimizer, self.trainer.lr_scheduler)
        if (
            (every and state.global_step % every == 0)
            or self.progress.reaches(values.get("save_samples") or 0)
            or orders.save
            or orders.stop
        ):
            control.should_save = True
        if orders.stop:
            control.should_training_stop = True
            control.should_evaluate = False
        # A step whose figures are logged is told with them, in on_log.
        if not control.should_log:
            self.reporter.step(self.progress.done, max_steps=self.max_steps, epoch=self.epoch)
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.stopped:
            control.should_save = control.should_evaluate = False
        elif self.job.parameters["checkpoint_at_epoch"]:
            control.should_save = True
        if (done := self.progress.whole_epochs) is not None:
            self.reporter.epoch(done, self.progress.done)
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # At the end of training transformers logs once more, without a loss.
        if logs and "loss" in logs:
            self.step(
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=logs.get("grad_norm"),
                framework=logs,
                **{name: logs.get(logged) for name, logged in self.figures.items()},
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> TrainerControl:
        loss = metrics.get("eval_loss")
        if self.keeper.improved(math.inf if loss is None else loss, self.progress.done):
            control.should_save = True
        own = {f"validation_{name}": metrics.get(f"eval_{logged}") for name, logged in self.figures.items()}
        self.reporter.evaluation(
            self.progress.done, epoch=self.epoch, validation_loss=loss, framework=dict(metrics) if own else None, **own
        )
        return control


def effective_batch(args: TrainingArguments) -> int:
    """Rows of an optimizer step, over all processes and micro-batches."""
    return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)
