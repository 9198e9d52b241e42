"""Turns what mini-trainer says as it trains into events."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.store.checkpoints import Checkpoint
from training_hub.store.events import SCHEMA, EventLog

if TYPE_CHECKING:
    from mini_trainer.callbacks import TrainingContext


class Reporter:
    """Tells of one run. Used by the main process alone."""

    def __init__(self, job: dict[str, Any], lengths: list[int], events: EventLog) -> None:
        """Args:
        job: See `training_hub.execution.session.Run.job`.
        lengths: The tokens of each row.
        events: Where to tell.
        """
        arguments = job["arguments"]["TrainingArgs"]
        self.algorithm, self.backend = job["algorithm"], job["backend"]
        self.batch: int = arguments["batch_size"]
        self.epochs: int = arguments["max_epochs"]
        self.by_epochs = arguments.get("training_mode", "epoch") == "epoch"
        self.seed = arguments["seed"]
        self.lengths = lengths
        self.events = events
        self.last: dict[str, Any] = {}
        self.tokens = self.tokens_before = 0
        self.began = self.logged = time.perf_counter()
        self._order: tuple[int, list[int]] = (-1, [])

    def final(self) -> dict[str, Any]:
        """The figures of the end of training."""
        seconds = self.logged - self.began
        speed = (self.tokens - self.tokens_before) / seconds if seconds > 0 else None
        overall = {"seconds": seconds, "tokens_per_second": speed}
        return {**self.last, **overall}

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch)

    def began_at(self, context: TrainingContext, resumed: Checkpoint | None) -> None:
        """Training begins, or goes on from a checkpoint."""
        self.began = self.logged = time.perf_counter()
        self.tokens = self.tokens_before = resumed.facts["tokens"] if resumed else 0
        self.events.emit(
            "start",
            schema=SCHEMA,
            algorithm=self.algorithm,
            backend=self.backend,
            rows=len(self.lengths),
            max_steps=self._max_steps(context),
            num_epochs=self.epochs if self.by_epochs else None,
            world_size=context.world_size,
            effective_batch_size=self.batch,
            resumed_from=resumed.step if resumed else None,
        )

    def step(self, context: TrainingContext) -> None:
        """A step is done."""
        now, step = time.perf_counter(), int(context.step)
        tokens = self._tokens_of(step)
        self.tokens += tokens
        self.last |= {
            "step": step,
            "max_steps": self._max_steps(context),
            "epoch": step / self.steps_per_epoch,
            "loss": context.loss,
            "learning_rate": context.learning_rate,
            "grad_norm": context.grad_norm,
            "tokens": self.tokens,
            "tokens_per_second": tokens / (now - self.logged) if now > self.logged else None,
        }
        self.logged = now
        figures = {name: value for name, value in self.last.items() if name != "validation_loss"}
        self.events.emit("step", **figures, framework=context.batch_metrics)

    def evaluation(self, context: TrainingContext) -> None:
        """A validation is done."""
        loss, step = context.val_metrics.get("val_loss"), int(context.step)
        self.last["validation_loss"] = loss
        self.events.emit("eval", step=step, epoch=step / self.steps_per_epoch, validation_loss=loss)

    def epoch(self, step: int) -> None:
        """A pass over all rows is done."""
        self.events.emit("epoch", epoch=step // self.steps_per_epoch, step=step)

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is complete."""
        self.events.emit("save", step=step, checkpoint=str(checkpoint))

    def _max_steps(self, context: TrainingContext) -> int | None:
        return self.steps_per_epoch * context.max_epochs if self.by_epochs else context.max_steps or None

    def _tokens_of(self, step: int) -> int:
        """Tokens of the rows of a step. The framework's own count holds the fillers of idle processes too."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, order_of_rows(len(self.lengths), self.seed, epoch))
        rows = self._order[1][index * self.batch : (index + 1) * self.batch]
        return sum(self.lengths[row] for row in rows)


def order_of_rows(rows: int, seed: int, epoch: int) -> list[int]:
    """The rows of an epoch, as the framework draws them."""
    from mini_trainer.sampler import EpochSampler

    return list(EpochSampler(rows, seed, epoch))
