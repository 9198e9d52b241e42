"""Tells of a run by events: its start, its steps, validations, checkpoints, and its final figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from training_hub.backends.job import Job
from training_hub.store.events import SCHEMA, EventLog


class StepReporter:
    """Writes the events of a run on rank 0; on the other ranks it only keeps the figures.

    Example:
        reporter = StepReporter(job, callbacks.events, writes=rank == 0)
        reporter.start(rows=100, max_steps=25, num_epochs=2, world_size=1, effective_batch_size=8)
        reporter.step(1, max_steps=25, epoch=0.08, loss=2.3, learning_rate=1e-5, grad_norm=0.9, tokens=1200)
    """

    def __init__(self, job: Job, events: EventLog, *, writes: bool = True) -> None:
        """Args:
        job: What is trained.
        events: The run's stream: that of `RankCallbacks`, so that callbacks on the ranks hear of it.
        writes: Whether this is rank 0.
        """
        self.job = job
        self.events = events
        self.writes = writes
        self.last: dict[str, Any] = {}
        """The figures of the last step, and the last validation's loss."""
        self.told = job.resume_from.step if job.resume_from else 0
        """The last step that was told of."""
        self._began = self._logged = time.perf_counter()
        self._tokens = self._tokens_before = 0

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event, on rank 0."""
        if self.writes:
            self.events.emit(event, **fields)

    def start(
        self,
        *,
        rows: int,
        max_steps: int | None,
        num_epochs: float | None,
        world_size: int,
        effective_batch_size: int,
        tokens: int = 0,
    ) -> None:
        """Training begins, or goes on from the job's checkpoint.

        Args:
            rows: Rows in an epoch.
            max_steps: Optimizer steps of the whole run, where they are known.
            num_epochs: Passes over the rows, where they decide.
            world_size: Processes that train, on all nodes.
            effective_batch_size: Rows in an optimizer step.
            tokens: Trained on so far, in the run that is gone on from.
        """
        self._began = self._logged = time.perf_counter()
        self._tokens = self._tokens_before = tokens
        self.emit(
            "start",
            schema=SCHEMA,
            algorithm=self.job.algorithm,
            backend=self.job.backend,
            rows=rows,
            max_steps=max_steps,
            num_epochs=num_epochs,
            world_size=world_size,
            effective_batch_size=effective_batch_size,
            resumed_from=self.job.resume_from.step if self.job.resume_from else None,
        )

    def step(
        self,
        step: int,
        *,
        max_steps: int | None,
        epoch: float | None,
        loss: float | None = None,
        learning_rate: float | None = None,
        grad_norm: float | None = None,
        tokens: int | None = None,
        framework: Any = None,
        **figures: float | None,
    ) -> None:
        """An optimizer step is done. A step that was told of is not told again.

        Args:
            step: Steps done, of the run that is gone on from included.
            max_steps: Steps of the whole run.
            epoch: Passes over the rows done, with the fraction.
            loss: Over the effective batch, in the algorithm's unit: nats a trained token. None where the step's figures
                are not logged; only the three above are then told.
            learning_rate: Of this step.
            grad_norm: Before gradients are scaled down.
            tokens: Trained on so far, by all processes.
            framework: The framework's own figures, whole, under its own names.
            **figures: The algorithm's own.
        """
        if step <= self.told:
            return
        self.told = step
        at: dict[str, Any] = {"step": step, "max_steps": max_steps, "epoch": epoch}
        if loss is None:
            self.emit("step", **at)
            return
        now, speed = time.perf_counter(), None
        if tokens is not None and now > self._logged:
            speed = (tokens - self._tokens) / (now - self._logged)
        self._logged, self._tokens = now, self._tokens if tokens is None else tokens
        told = {
            **at,
            "loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "tokens": tokens,
            "tokens_per_second": speed,
            **figures,
        }
        self.last |= told
        self.emit("step", **told, framework=framework)

    def evaluation(
        self,
        step: int,
        *,
        epoch: float | None,
        validation_loss: float | None,
        framework: Any = None,
        **figures: float | None,
    ) -> None:
        """A validation is done.

        Args:
            step: Steps done.
            epoch: Passes over the rows done.
            validation_loss: In the unit of the loss, over all validation rows.
            framework: The framework's own figures, whole, under its own names.
            **figures: The algorithm's own, each named `validation_<name>`.
        """
        told = {"validation_loss": validation_loss, **figures}
        self.last |= told
        whole = {} if framework is None else {"framework": framework}
        self.emit("eval", step=step, epoch=epoch, **told, **whole)

    def epoch(self, epoch: int, step: int) -> None:
        """A pass over all rows is done: the `epoch`-th, with this step."""
        self.emit("epoch", epoch=epoch, step=step)

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is complete."""
        self.emit("save", step=step, checkpoint=str(checkpoint))

    def stopped(self, step: int, reason: str) -> None:
        """Training ends before its last step, because somebody asked for it."""
        self.emit("stop", step=step, reason=reason)

    def warn(self, message: str, step: int | None = None) -> None:
        """Something that a person should know."""
        self.emit("warning", message=message, **({} if step is None else {"step": step}))

    def final(self) -> dict[str, Any]:
        """The figures of the end: the last step's, `seconds` of training, and tokens a second over all of it."""
        seconds = self._logged - self._began
        speed = (self._tokens - self._tokens_before) / seconds if seconds > 0 else None
        return {**self.last, "seconds": seconds, "tokens_per_second": speed}
