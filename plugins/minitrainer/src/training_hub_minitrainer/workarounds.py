"""The place where mini-trainer 0.9 has no public interface for what the hub promises: one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def go_on_at_the_right_row(steps_per_epoch: Callable[[], int], told: Callable[[int], None]) -> None:
    """Resume at the step that comes next. For 0.9.

    The framework keeps the steps of all epochs, and on resuming passes over so many batches of *each* epoch until
    some are left: from the end of the first epoch on it would train on nothing. Here it
    reads the epoch, and the steps in it.

    Args:
        steps_per_epoch: Called when the rows are there.
        told: Called with the steps of the epochs that are over, which the framework then leaves out of its count.
    """
    from mini_trainer.full_state_checkpoint import FullStateCheckpointer

    load = FullStateCheckpointer.load_metadata

    def load_metadata(directory: str) -> dict[str, Any]:
        found: dict[str, Any] = load(directory)
        length = steps_per_epoch()
        epoch, step = divmod(int(found["step"]), length)
        told(epoch * length)
        return found | {"epoch": epoch, "step": step, "sampler_epoch": epoch}

    FullStateCheckpointer.load_metadata = staticmethod(load_metadata)
