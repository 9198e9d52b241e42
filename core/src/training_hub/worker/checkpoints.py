"""Keeps the checkpoints of a run: gives them their places, declares them complete, makes room, knows the best."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training_hub.backends.job import Job
from training_hub.errors import TrainingFailedError
from training_hub.store.checkpoints import SEAL, Checkpoint, checkpoint_path, complete, make_room, newest, seal
from training_hub.store.directory import size
from training_hub.worker.reporter import StepReporter


class CheckpointKeeper:
    """The checkpoints of a run. Every rank may ask what is best; rank 0 alone moves, seals and deletes.

    Example:
        if keeper.improved(validation_loss, step): ...save...
        keeper.adopt(written, step)          # moved to checkpoint-<step>, where the framework wrote elsewhere
        keeper.complete(step, resumable=True, tokens=tokens)
    """

    def __init__(self, job: Job, reporter: StepReporter) -> None:
        self.job = job
        self.directory = job.directory
        self.reporter = reporter
        values = job.parameters
        facts = job.resume_from.facts if job.resume_from else {}
        self.limit: int | None = 1 if values["keep_last_checkpoint_only"] else values.get("save_total_limit")
        """Most checkpoints to keep, the best one not counted."""
        self.best: float | None = facts.get("best")
        """The lowest validation loss so far, where a checkpoint of it is asked for."""
        self.best_step: int | None = facts.get("best_step")

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return checkpoint_path(self.directory.path, step)

    def is_complete(self, step: int) -> bool:
        """Whether the checkpoint of a step is complete already."""
        return complete(self.path(step)) is not None

    def improved(self, loss: float, step: int) -> bool:
        """Take a validation loss; whether `save_best_val_loss` asks for a checkpoint of the best one, and this is it.

        Args:
            loss: Of the validation.
            step: Steps done.
        """
        values = self.job.parameters
        best = math.inf if self.best is None else self.best
        if not values["save_best_val_loss"] or not loss < best - values["val_loss_improvement_threshold"]:
            return False
        self.best, self.best_step = loss, step
        return True

    def adopt(self, written: Path, step: int) -> Path:
        """Move what the framework wrote, on the same file system, to its place. It does not count before `complete`."""
        target = self.path(step)
        # Left by a run that had come further than what it was resumed from.
        if target.exists():
            (target / SEAL).unlink(missing_ok=True)
            shutil.rmtree(target)
        written.rename(target)
        return target

    def complete(self, step: int, *, resumable: bool, **facts: Any) -> Checkpoint:
        """Declare a checkpoint complete: all that belongs to it is in its place. Tell of it, and make room.

        Args:
            step: Its step.
            resumable: Whether it holds what training goes on from, beside the weights.
            **facts: What the backend notes for itself, for a run that is resumed from it; plain data.
        """
        found = seal(
            self.path(step), step, resumable=resumable, **{"best": self.best, "best_step": self.best_step, **facts}
        )
        self.reporter.saved(step, found.path)
        if self.limit:
            make_room(self.directory.path, self.limit, {step} if self.best_step is None else {step, self.best_step})
        return found

    def take_final(self, written: Path, step: int) -> Path:
        """Move the model of the end of training to its place, `final`."""
        written.rename(self.directory.final)
        self.reporter.saved(step, self.directory.final)
        return self.directory.final

    def link_final(self, source: Path, step: int, leave_out: Iterable[str] = ("full_state",)) -> Path:
        """Give the checkpoint of the last step a second place, as the final one, where the disk can without copying.

        Args:
            source: The checkpoint.
            step: Its step.
            leave_out: What is needed only to go on training.
        """
        final = self.directory.final
        partial = final.with_name(f".{final.name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*leave_out, SEAL), copy_function=_linked)
        partial.rename(final)
        self.reporter.saved(step, final)
        return final

    def finish(self, step: int, written: Path | None = None, *, ended: bool = True) -> Path | None:
        """Put the model of the end in its place, where that is asked for; return what the user is to get.

        Args:
            step: The last step done.
            written: The model, on the same file system; a checkpoint of that step serves, too.
            ended: Whether training came to its end; a run that was stopped has its last checkpoint.
        """
        last = self.last()
        if ended and self.job.parameters["save_final_checkpoint"]:
            if written is not None:
                return self.take_final(written, step)
            # A run that is gone on from may have come to the end by itself.
            source = last or self.job.resume_from
            if source is not None and source.step == step:
                return self.link_final(source.path, step)
        return last.path if last else None

    def last(self) -> Checkpoint | None:
        """The newest complete checkpoint of the run; None where it has saved none."""
        return newest(self.directory.path)

    def only_weights(self, step: int, error: Exception) -> TrainingFailedError:
        """Keep the weights of a step where what goes with them cannot be saved; return the error to raise.

        The checkpoint is complete then, and none to resume from.

        Args:
            step: Of the checkpoint, whose weights are in its place.
            error: What came.
        """
        self.complete(step, resumable=False)
        return weights_alone(self.path(step), error)

    def not_saved(self, step: int, error: Exception, needed: int, *, weights: bool = False) -> Exception:
        """The error to raise for one that came while a checkpoint was saved: a disk that is full gets its figures.

        Args:
            step: Of the checkpoint; what is there of it is deleted where the disk was full.
            error: What came.
            needed: Bytes that the checkpoint takes.
            weights: Whether the weights were saved by then: where the disk is not full, they are kept.
        """
        free = self.directory.free()
        if free >= needed and getattr(error, "errno", None) != errno.ENOSPC:
            return self.only_weights(step, error) if weights else error
        shutil.rmtree(self.path(step), ignore_errors=True)
        return TrainingFailedError(
            f"the checkpoint of step {step} could not be saved: no space left on device; it needs about "
            f"{size(needed)}, and {self.directory.path} had {size(free)} left. Older checkpoints are as they were"
        )


def weights_alone(directory: Path | None, error: Exception) -> TrainingFailedError:
    """The error to raise where weights are saved, and what goes with them could not be."""
    cause = f"{type(error).__name__}: {error}"
    return TrainingFailedError(
        f"the trained weights are in {directory}; what goes with them could not be saved: {cause}"
    )


def _linked(source: str, target: str) -> None:
    """Weights are linked and take no room twice; the small files, which people edit, are copied."""
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # a file system without links
    shutil.copy2(source, target)
