"""Turns what mini-trainer tells its callbacks into events, and puts its checkpoints in place."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.runs.events import EventLog
from training_hub_minitrainer.checkpoints import Checkpoints

if TYPE_CHECKING:
    from mini_trainer.callbacks import TrainingContext

DRAIN_SECONDS = 300.0
"""How long the last calls may take: the framework makes them from a thread of its own."""


class Reporter:
    """Receives the framework's calls of one run. Used by the main process alone."""

    def __init__(self, job: dict[str, Any], lengths: list[int], events: EventLog, checkpoints: Checkpoints) -> None:
        arguments = job["arguments"]["TrainingArgs"]
        self.algorithm, self.backend = job["algorithm"], job["backend"]
        self.batch: int = arguments["batch_size"]
        self.epochs: int = arguments["max_epochs"]
        self.by_epochs = arguments.get("training_mode", "epoch") == "epoch"
        self.seed = arguments["seed"]
        self.lengths = lengths
        self.events = events
        self.checkpoints = checkpoints
        self.last: dict[str, Any] = {}
        self.tokens = self.tokens_before = 0
        self.steps_before = 0
        """Steps of the epochs before the one that training was resumed in; the framework does not count them."""
        self.began = self.logged = time.perf_counter()
        self.error: Exception | None = None
        self._order: tuple[int, list[int]] = (-1, [])
        self._between_epochs = False
        self._ended = threading.Event()

    def receive(self, context: TrainingContext) -> None:
        """Take one call. The framework would only log an error of it, so the first one is kept for `finish`."""
        try:
            getattr(self, f"_{context.hook_name}")(context)
        except Exception as error:
            self.error = self.error or error
        finally:
            if context.hook_name == "on_train_end":
                self._ended.set()

    def finish(self) -> dict[str, Any]:
        """Wait for the last call; return the figures of the end of training."""
        if not self._ended.wait(DRAIN_SECONDS):
            raise TimeoutError("mini-trainer did not report the end of training")
        if self.error:
            raise self.error
        seconds = self.logged - self.began
        speed = (self.tokens - self.tokens_before) / seconds if seconds > 0 else None
        overall = {"seconds": seconds, "tokens_per_second": speed}
        return {**self.last, **overall}

    def final_checkpoint(self) -> Path:
        """The model as it is at the end of training."""
        final, step = self.checkpoints.directory.final, self.last["step"]
        # The framework saves none where it has just saved the same weights for another reason.
        if not final.exists():
            self.checkpoints.link_final(step)
            self.events.emit("save", step=step, checkpoint=str(final))
        return final

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch)

    def _on_train_begin(self, context: TrainingContext) -> None:
        self.began = self.logged = time.perf_counter()
        self.tokens = sum(self._tokens_of(step) for step in range(1, self._step(context) + 1))
        self.tokens_before = self.tokens
        self.events.emit(
            "start",
            algorithm=self.algorithm,
            backend=self.backend,
            rows=len(self.lengths),
            max_steps=self._max_steps(context),
            num_epochs=self.epochs if self.by_epochs else None,
            world_size=context.world_size,
            effective_batch_size=self.batch,
        )

    def _on_epoch_begin(self, context: TrainingContext) -> None:
        self._between_epochs = False

    def _on_log(self, context: TrainingContext) -> None:
        now, step = time.perf_counter(), self._step(context)
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

    def _on_evaluate(self, context: TrainingContext) -> None:
        loss = context.val_metrics.get("val_loss")
        self.last["validation_loss"] = loss
        step = self._step(context)
        self.events.emit("eval", step=step, epoch=step / self.steps_per_epoch, validation_loss=loss)

    def _on_save(self, context: TrainingContext) -> None:
        assert context.checkpoint_path is not None
        # The framework does not say why it saves; between two epochs, or after the last, it is for the end.
        written = Path(context.checkpoint_path)
        final = self._between_epochs and not written.name.endswith("best_val_loss")
        step = self._step(context)
        place = self.checkpoints.take(written, step, final=final)
        self.events.emit("save", step=step, checkpoint=str(place))

    def _on_epoch_end(self, context: TrainingContext) -> None:
        self._between_epochs = True

    def _on_train_end(self, context: TrainingContext) -> None:
        """Nothing comes after it."""

    def _step(self, context: TrainingContext) -> int:
        return self.steps_before + int(context.step)

    def _max_steps(self, context: TrainingContext) -> int | None:
        return self.steps_per_epoch * context.max_epochs if self.by_epochs else context.max_steps or None

    def _tokens_of(self, step: int) -> int:
        """Tokens of the rows of a step. The framework's own count holds the fillers of idle processes too."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, _order(len(self.lengths), self.seed, epoch))
        rows = self._order[1][index * self.batch : (index + 1) * self.batch]
        return sum(self.lengths[row] for row in rows)


def _order(rows: int, seed: int, epoch: int) -> list[int]:
    from mini_trainer.sampler import EpochSampler

    return list(EpochSampler(rows, seed, epoch))


current: Reporter | None = None
"""The reporter of the run that this process trains; the framework's callbacks cannot carry an object."""


def receive(context: TrainingContext) -> None:
    """What the callback calls."""
    if current is not None:
        current.receive(context)
