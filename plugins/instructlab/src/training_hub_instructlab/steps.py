"""How far training has come, as every rank counts it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Step:
    """What the optimizer was given in one step."""

    learning_rate: float
    grad_norm: float | None = None


@dataclass
class Progress:
    """Optimizer steps done, those of the run that is gone on from included."""

    rows: int
    """Rows in an epoch."""
    effective_batch_size: int
    num_epochs: int
    done: int = 0
    taken: Step | None = None
    """The last step, as the optimizer took it."""

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.effective_batch_size)

    @property
    def max_steps(self) -> int:
        return self.steps_per_epoch * self.num_epochs

    @property
    def whole_epochs(self) -> int | None:
        """Passes over the rows done, where the last step has ended one."""
        epochs, rest = divmod(self.done, self.steps_per_epoch)
        return epochs if rest == 0 else None

    def rows_after(self, steps: int) -> int:
        """Rows trained on in so many steps; the last step of an epoch may have fewer than the others."""
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * self.rows + rest * self.effective_batch_size

    def epoch_after(self, steps: int) -> float:
        """Passes over the rows after so many steps, with the fraction."""
        return self.rows_after(steps) / self.rows
