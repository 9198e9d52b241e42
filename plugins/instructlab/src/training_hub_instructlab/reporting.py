"""Turns what the framework tells its callbacks into the hub's events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from instructlab.training import TrainerCallback, TrainingContext
from instructlab.training.sampler import EpochSampler

from training_hub.runs.events import EventLog
from training_hub_instructlab.rows import Rows
from training_hub_instructlab.steps import Progress


@dataclass
class Reporter:
    """Writes events on rank 0, and on every rank passes validation losses on."""

    events: EventLog
    progress: Progress
    rows: Rows
    seed: int
    writes: bool
    world_size: int
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._epoch = -1
        self._after_row: list[int] = []
        self.reported = self.progress.done
        """Steps reported, those before this run included."""
        self.tokens = self.tokens_before = self._tokens_after(self.reported)
        self.began = self.logged = time.perf_counter()

    def train_begin(self) -> None:
        self.began = self.logged = time.perf_counter()
        self._emit(
            "start",
            algorithm="sft",
            backend="instructlab-training",
            rows=self.progress.rows,
            max_steps=self.progress.max_steps,
            num_epochs=self.progress.num_epochs,
            world_size=self.world_size,
            effective_batch_size=self.progress.effective_batch_size,
        )

    def log(self, context: TrainingContext) -> None:
        taken = self.progress.taken.get(timeout=60)
        self.reported += 1
        now = time.perf_counter()
        tokens = self._tokens_after(self.reported)
        seconds = now - self.logged
        self.last |= {
            "step": self.reported,
            "max_steps": self.progress.max_steps,
            "epoch": self.progress.epoch_after(self.reported),
            "loss": context.loss,
            "learning_rate": taken.learning_rate,
            "grad_norm": taken.grad_norm,
            "tokens": tokens,
            "tokens_per_second": (tokens - self.tokens) / seconds if seconds > 0 else None,
        }
        self.tokens, self.logged = tokens, now
        names = ("step", "max_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second")
        self._emit("step", **{name: self.last[name] for name in names}, framework=_plain(context))

    def evaluate(self, context: TrainingContext) -> None:
        # The framework counts the tokens of all ranks once for each rank; the hub knows how many there are.
        figures = context.val_metrics
        loss = figures["val_loss"] * figures["val_num_tokens"] / self.rows.validation_tokens
        self.progress.validated.put(loss)
        self.last["validation_loss"] = loss
        self._emit("eval", step=self.reported, epoch=self.progress.epoch_after(self.reported), validation_loss=loss)

    def final(self) -> dict[str, Any]:
        """The last step's figures, and the run's length."""
        seconds = self.logged - self.began
        here = self.tokens - self.tokens_before
        return {**self.last, "seconds": seconds, "tokens_per_second": here / seconds if seconds > 0 else None}

    def _emit(self, event: str, **fields: Any) -> None:
        if self.writes:
            self.events.emit(event, **fields)

    def _tokens_after(self, steps: int) -> int:
        """Tokens of the rows of so many steps; the framework itself counts padding too."""
        epoch, rest = divmod(steps, self.progress.steps_per_epoch)
        if rest == 0:
            return epoch * sum(self.rows.lengths)
        if epoch != self._epoch:
            self._epoch = epoch
            order = EpochSampler(self.progress.rows, seed=self.seed, epoch=epoch).generate_samples()
            self._after_row = [0, *accumulate(self.rows.lengths[row] for row in order)]
        return epoch * sum(self.rows.lengths) + self._after_row[rest * self.progress.effective_batch_size]


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

    def on_train_begin(self, context: TrainingContext) -> None:
        from training_hub_instructlab import reporting

        reporting.current().train_begin()

    def on_log(self, context: TrainingContext) -> None:
        from training_hub_instructlab import reporting

        reporting.current().log(context)

    def on_evaluate(self, context: TrainingContext) -> None:
        from training_hub_instructlab import reporting

        reporting.current().evaluate(context)

    def on_train_end(self, context: TrainingContext) -> None:
        """The framework waits for this one, and so for all before it."""
