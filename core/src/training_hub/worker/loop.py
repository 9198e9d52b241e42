"""The hub's part in a loop that a framework runs: on every rank it looks at losses, tells, obeys, and ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.backends.job import Job
from training_hub.store.control import ControlReader, Orders
from training_hub.store.outcome import Outcome
from training_hub.worker.base_model import base_directory, like_base
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.checkpoints import CheckpointKeeper, weights_alone
from training_hub.worker.control import orders_on_every_rank, set_learning_rate
from training_hub.worker.finite import check_finite
from training_hub.worker.progress import Progress, RowOrder
from training_hub.worker.rank import rank, world_size
from training_hub.worker.reporter import StepReporter
from training_hub.worker.rows import revision

if TYPE_CHECKING:
    import torch


class Stopped(BaseException):
    """Leaves a framework's loop before its last step, on every rank. No error, so that nobody takes it for one."""


class FrameworkLoop:
    """The hub's part in a loop that belongs to a framework. A subclass has the framework call it, on every rank.

    Example:
        class Loop(FrameworkLoop):
            def on_train_begin(self) -> None:
                self.begin(model, tokenizer, device, RowOrder(progress, lengths, order))

            def on_step_end(self) -> None:
                self.progress.done += 1
                self.step(loss=loss, learning_rate=rate, grad_norm=norm)
                orders = self.obey(optimizer, schedule)
                if orders.save or orders.stop:
                    ...  # the framework saves; then, on rank 0:
                    self.adopt(written)
                    self.keeper.complete(self.progress.done, resumable=True, tokens=self.tokens)
                if orders.stop:
                    raise Stopped
    """

    order: RowOrder
    progress: Progress
    max_steps: int | None
    """Steps of the whole run, where they are known."""
    device: torch.device
    """Where the process group's backend can send tensors from."""

    def __init__(self, job: Job) -> None:
        """Made before the model is loaded, for that a callback may be missing.

        Raises:
            ParameterError: A class of a callback that runs on all ranks cannot be imported here.
        """
        self.job = job
        self.main = rank() == 0
        """Whether this is rank 0."""
        self.callbacks = RankCallbacks(job)
        self.reporter = StepReporter(job, self.callbacks.events, writes=self.main)
        self.keeper = CheckpointKeeper(job, self.reporter)
        self.control_reader = ControlReader(job.directory)
        self.stopped = False
        """Whether training ends before its last step."""
        self.base: Path | None = None
        """On rank 0, once training begins: where the files of the base model lie, if they are to be had."""
        self._tokens_elsewhere = 0

    def begin(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        order: RowOrder,
        *,
        by_epochs: bool = True,
        max_steps: int | None = None,
    ) -> None:
        """Training is about to begin, or to go on.

        Args:
            model: As the framework trains it.
            tokenizer: The model's; for callbacks that run on all ranks, so where there are none it may be None.
            device: Where the process group's backend can send tensors from.
            order: The rows of each step; its progress says how many steps are done. Their lengths count on rank 0.
            by_epochs: Whether the passes over the rows say when training ends.
            max_steps: Where they do not: optimizer steps of the whole run, where they are known.
        """
        self.order, self.progress, self.device = order, order.progress, device
        self.max_steps = self.progress.max_steps if by_epochs else max_steps
        resumed = self.job.resume_from
        if self.main:
            self.base = base_directory(self.job.parameters["model_path"], revision(self.job))
        if resumed and self.main:
            counted = order.tokens_after(self.progress.done)
            # The run that is gone on from may have had other rows.
            self._tokens_elsewhere = resumed.facts.get("tokens", counted) - counted
        self.reporter.start(
            rows=self.progress.rows,
            max_steps=self.max_steps,
            num_epochs=self.progress.num_epochs if by_epochs else None,
            world_size=world_size(),
            effective_batch_size=self.progress.effective_batch_size,
            tokens=self.tokens or 0,
        )
        self.callbacks.begin(model, tokenizer, device)
        self.callbacks.meet()

    @property
    def tokens(self) -> int | None:
        """Tokens trained on so far, by all processes; on rank 0."""
        return self._tokens_elsewhere + self.order.tokens_after(self.progress.done) if self.main else None

    @property
    def epoch(self) -> float:
        """Passes over the rows done, with the fraction."""
        return self.progress.epoch_after(self.progress.done)

    def look(self, loss: float, step: int) -> None:
        """Look at the loss of a step.

        Raises:
            NonFiniteLossError: It is NaN or infinite, and that is to stop the run.
        """
        if math.isfinite(loss):
            return
        if warning := check_finite(loss, step, self.order.rows_of(step), self.job.parameters["on_nan"]):
            self.reporter.warn(warning, step)

    def step(
        self,
        *,
        loss: float,
        learning_rate: float,
        grad_norm: float | None,
        framework: Any = None,
        **figures: float | None,
    ) -> None:
        """Tell of the step that is done; see `StepReporter.step`."""
        self.reporter.step(
            self.progress.done,
            max_steps=self.max_steps,
            epoch=self.epoch,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens=self.tokens,
            framework=framework,
            **figures,
        )

    def obey(self, optimizer: Any, schedule: Any, *, over: bool = False) -> Orders:
        """What the caller asks for after a step, on every rank alike; a learning rate is set, and a stop told of.

        Args:
            optimizer: A `torch.optim.Optimizer`.
            schedule: Its learning rate scheduler, or accelerate's wrapping of it.
            over: Whether nothing is left to stop, where the number of steps does not say so.
        """
        orders = orders_on_every_rank(self.control_reader if self.main else None, self.device)
        if orders.learning_rate is not None:
            set_learning_rate(orders.learning_rate, optimizer, schedule)
        done = self.progress.done
        if orders.stop and (over or (self.max_steps is not None and done >= self.max_steps)):
            return replace(orders, stop=False)
        if orders.stop:
            self.stopped = True
            self.reporter.stopped(done, self.control_reader.reason)
        return orders

    def mend(self, written: Path) -> None:
        """Make of what the framework wrote what transformers' `save_pretrained` would have written.

        By default it is made like the base model: see `like_base`.
        """
        if self.base is not None:
            like_base(written, self.base)

    def adopt(self, written: Path) -> Path:
        """On rank 0: move what the framework wrote after this step to the checkpoint's place, and mend it there.

        It does not count before `keeper.complete`.

        Raises:
            TrainingFailedError: It could not be mended; the weights are in the checkpoint's place.
        """
        step = self.progress.done
        place = self.keeper.adopt(written, step)
        try:
            self.mend(place)
        except Exception as error:
            raise self.keeper.only_weights(step, error) from error
        return place

    def end(self, written: Path | None = None) -> Outcome:
        """Training has ended: put the model in its place, and let the ranks meet a last time.

        Args:
            written: The model of the end, where the framework wrote one; a checkpoint of the last step serves, too.

        Raises:
            TrainingFailedError: It could not be mended; the weights are in their place.
        """
        checkpoint = failure = None
        if self.main:
            if written is not None:
                try:
                    self.mend(written)
                except Exception as error:
                    failure = error
            checkpoint = self.keeper.finish(self.progress.done, written, ended=not self.stopped)
        if failure is not None:
            raise weights_alone(checkpoint or written, failure) from failure
        metrics = self.reporter.final()
        self.callbacks.end(metrics)
        return Outcome(checkpoint, metrics)
