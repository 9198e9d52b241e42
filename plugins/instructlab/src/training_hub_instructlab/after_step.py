"""What the hub does after each optimizer step of the framework's: report, obey, save, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from training_hub.store.control import ControlReader
from training_hub.worker.control import orders_on_every_rank, set_learning_rate
from training_hub_instructlab.checkpoints import Checkpoints
from training_hub_instructlab.reporting import Reporter
from training_hub_instructlab.steps import Progress


class Stopped(Exception):  # noqa: N818 - what the framework is left by, and no failure
    """Training ends here on every rank, because somebody asked for it; the checkpoint is complete."""


@dataclass
class AfterStep:
    """Called on every rank after every step; every rank decides alike."""

    values: dict[str, Any]
    """The hub's parameters."""
    progress: Progress
    reporter: Reporter
    checkpoints: Checkpoints
    control_reader: ControlReader
    validation_frequency: int | None
    counted_from: int
    """The step from which the framework counts: a run that goes on counts its steps from the start of the epoch."""

    def __call__(self, save: Callable[..., None], **given: Any) -> None:
        """Stands in for the framework's `save_checkpoint`, which it calls after every step and every epoch.

        Args:
            save: The framework's own.
            **given: What the framework called it with.

        Raises:
            Stopped: The run was asked to stop.
        """
        # The end of an epoch is that of its last step, which has been here.
        if given.get("epoch") is not None:
            return
        done, ended = self.progress.done, self.progress.whole_epochs
        self.reporter.step()
        improved = self._validated() and self.checkpoints.improved(self.reporter.evaluation())
        orders = orders_on_every_rank(self.control_reader, torch.device(torch.cuda.current_device()))
        # A run whose last step is done has nothing left to stop.
        stops = orders.stop and done < self.progress.max_steps
        if orders.learning_rate is not None:
            accelerator = given["accelerator"]
            set_learning_rate(orders.learning_rate, accelerator.optimizer, accelerator.lr_scheduler)
        if ended is not None:
            self.reporter.emit("epoch", epoch=ended, step=done)
        if stops:
            self.reporter.emit("stop", step=done, reason=self.control_reader.reason)
        at_epoch = ended is not None and self.values["checkpoint_at_epoch"]
        if stops or orders.save or at_epoch or improved or self._reaches_rows():
            # What was asked for while training goes on is there to be resumed from.
            full = stops or orders.save or self.values["accelerate_full_state_at_epoch"]
            self.checkpoints.save(save, given, full_state=full)
        if stops:
            raise Stopped

    def _validated(self) -> bool:
        every = self.validation_frequency
        return bool(every and (self.progress.done - self.counted_from) % every == 0)

    def _reaches_rows(self) -> bool:
        every = self.values["save_samples"]
        if not every:
            return False
        before, now = (self.progress.rows_after(steps) for steps in (self.progress.done - 1, self.progress.done))
        return bool(now // every > before // every)
