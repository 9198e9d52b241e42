"""Turns what the framework tells its callbacks into the hub's events."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import accumulate
from queue import SimpleQueue
from typing import Any

from instructlab.training import TrainerCallback, TrainingContext
from instructlab.training.sampler import EpochSampler

from training_hub.store.events import SCHEMA, EventLog
from training_hub.worker.finite import check_finite
from training_hub_instructlab.rows import Rows
from training_hub_instructlab.steps import Progress

HEARING_SECONDS = 60.0
"""How long what the framework reports may take from training to the thread of its callbacks."""


@dataclass
class Reporter:
    """Writes events, on rank 0 alone; every rank counts.

    The framework calls its callbacks in a thread of theirs, where an error would go no further: what they hear is only
    put by there, and told by `step` and `evaluation`, which training waits for.
    """

    events: EventLog
    progress: Progress
    rows: Rows
    values: dict[str, Any]
    """The hub's parameters."""
    writes: bool
    world_size: int
    resumed_from: int | None
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heard: SimpleQueue[TrainingContext] = SimpleQueue()
        """What the framework's callbacks were called with, in order."""
        self._epoch = -1
        self._order: list[int] = []
        self._after_row: list[int] = []
        self.tokens = self.tokens_before = self._tokens_after(self.progress.done)
        self.began = self.logged = time.perf_counter()

    def train_begin(self) -> None:
        self.began = self.logged = time.perf_counter()
        self.emit(
            "start",
            schema=SCHEMA,
            algorithm="sft",
            backend="instructlab-training",
            rows=self.progress.rows,
            max_steps=self.progress.max_steps,
            num_epochs=self.progress.num_epochs,
            world_size=self.world_size,
            effective_batch_size=self.progress.effective_batch_size,
            resumed_from=self.resumed_from,
        )

    def check(self, loss: float) -> None:
        """Look at the loss of a step whose weights are still to come.

        Raises:
            NonFiniteLossError: It is NaN or infinite, and that is to stop the run.
        """
        if math.isfinite(loss):
            return
        step = self.progress.done + 1
        batch = self.progress.effective_batch_size
        epoch, index = divmod(step - 1, self.progress.steps_per_epoch)
        self._arrange(epoch)
        seen = self._order[index * batch : (index + 1) * batch]
        if warning := check_finite(loss, step, seen, self.values["on_nan"]):
            self.emit("warning", step=step, message=warning)

    def step(self) -> None:
        """Tell of the step that the optimizer has just taken."""
        context = self.heard.get(timeout=HEARING_SECONDS)
        taken, done = self.progress.taken, self.progress.done
        assert taken is not None
        now = time.perf_counter()
        tokens = self._tokens_after(done)
        seconds = now - self.logged
        figures = {
            "step": done,
            "max_steps": self.progress.max_steps,
            "epoch": self.progress.epoch_after(done),
            "loss": context.loss,
            "learning_rate": taken.learning_rate,
            "grad_norm": taken.grad_norm,
            "tokens": tokens,
            "tokens_per_second": (tokens - self.tokens) / seconds if seconds > 0 else None,
        }
        self.last |= figures
        self.tokens, self.logged = tokens, now
        self.emit("step", **figures, framework=_plain(context))

    def evaluation(self) -> float:
        """Tell of the validation after the last step; its loss."""
        # The framework counts the tokens of all ranks once for each rank; the hub knows how many there are.
        figures = self.heard.get(timeout=HEARING_SECONDS).val_metrics
        loss = float(figures["val_loss"] * figures["val_num_tokens"] / self.rows.validation_tokens)
        self.last["validation_loss"] = loss
        done = self.progress.done
        self.emit("eval", step=done, epoch=self.progress.epoch_after(done), validation_loss=loss)
        return loss

    def final(self) -> dict[str, Any]:
        """The last step's figures, and the run's length."""
        seconds = self.logged - self.began
        here = self.tokens - self.tokens_before
        return {**self.last, "seconds": seconds, "tokens_per_second": here / seconds if seconds > 0 else None}

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event, on rank 0."""
        if self.writes:
            self.events.emit(event, **fields)

    def _tokens_after(self, steps: int) -> int:
        """Tokens of the rows of so many steps; the framework itself counts padding too."""
        epoch, rest = divmod(steps, self.progress.steps_per_epoch)
        if rest == 0:
            return epoch * sum(self.rows.lengths)
        self._arrange(epoch)
        return epoch * sum(self.rows.lengths) + self._after_row[rest * self.progress.effective_batch_size]

    def _arrange(self, epoch: int) -> None:
        """Know the order of rows in an epoch, and the tokens up to each."""
        if epoch != self._epoch:
            self._epoch = epoch
            seed = self.values["seed"]
            self._order = list(EpochSampler(self.progress.rows, seed=seed, epoch=epoch).generate_samples())
            self._after_row = [0, *accumulate(self.rows.lengths[row] for row in self._order)]


def _plain(context: TrainingContext) -> dict[str, Any]:
    """The framework's own figures of a step, under its own names."""
    names = ("step", "epoch", "loss", "learning_rate", "elapsed_time", "overall_throughput", "cuda_mem_allocated")
    return {name: getattr(context, name) for name in names} | dict(context.batch_metrics)


_reporter: Reporter | None = None


def use(reporter: Reporter) -> None:
    """Make this the reporter of the process; the callback, which the framework makes anew from its source, finds it."""
    global _reporter
    _reporter = reporter


def current() -> Reporter:
    """The reporter of this process."""
    assert _reporter is not None
    return _reporter


class HubCallback(TrainerCallback):  # type: ignore[misc]
    """What the framework calls, in a thread of its own, in order. Every method must import what it needs."""

    def on_log(self, context: TrainingContext) -> None:
        from training_hub_instructlab import reporting

        reporting.current().heard.put(context)

    def on_evaluate(self, context: TrainingContext) -> None:
        from training_hub_instructlab import reporting

        reporting.current().heard.put(context)
