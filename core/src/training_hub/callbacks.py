"""The type of the objects that `callbacks=` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingHubContext:
    """What a callback is told: the state of the run, the same on every backend.

    Attributes:
        step: Optimizer steps done.
        epoch: Passes over the data done, with its fraction.
        loss: Loss of the last step in nats a trained token, where known.
        learning_rate: Learning rate of the last step, where known.
        is_main_process: Whether this is rank 0.
        output_dir: The run's `ckpt_output_dir`.
        metrics: Further figures by name.
    """

    step: int = 0
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    is_main_process: bool = True
    output_dir: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)


class TrainingHubCallback:
    """Base class of callbacks; override the methods you need, the others do nothing."""

    run_on_all_ranks: bool = False

    def on_train_begin(self, context: TrainingHubContext) -> None:
        """Called before the first step."""

    def on_epoch_begin(self, context: TrainingHubContext) -> None:
        """Called at the start of each epoch."""

    def on_step_begin(self, context: TrainingHubContext) -> None:
        """Called before each optimizer step."""

    def on_log(self, context: TrainingHubContext) -> None:
        """Called when a step's figures are logged."""

    def on_evaluate(self, context: TrainingHubContext) -> None:
        """Called after a validation."""

    def on_save(self, context: TrainingHubContext) -> None:
        """Called after a checkpoint is saved."""

    def on_step_end(self, context: TrainingHubContext) -> None:
        """Called after each optimizer step."""

    def on_epoch_end(self, context: TrainingHubContext) -> None:
        """Called at the end of each epoch."""

    def on_train_end(self, context: TrainingHubContext) -> None:
        """Called after the last step."""
