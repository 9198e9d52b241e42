"""How far training has come, as every rank counts it: steps, epochs, rows and tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass
class Progress:
    """Optimizer steps done, those of the run that is gone on from included; an epoch's last may have fewer rows."""

    rows: int
    """Rows in an epoch."""
    effective_batch_size: int
    num_epochs: int
    done: int = 0

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
        """Rows trained on in so many steps."""
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * self.rows + min(rest * self.effective_batch_size, self.rows)

    def epoch_after(self, steps: int) -> float:
        """Passes over the rows after so many steps, with the fraction."""
        return self.rows_after(steps) / self.rows

    def reaches(self, every: int) -> bool:
        """Whether the last step has reached another multiple of so many rows; 0 never does."""
        if not every:
            return False
        before, now = (self.rows_after(steps) for steps in (self.done - 1, self.done))
        return now // every > before // every


class RowOrder:
    """Which rows each step has, and how many tokens that makes, from the order of rows in each epoch."""

    def __init__(self, progress: Progress, lengths: Sequence[int], order: Callable[[int], Sequence[int]]) -> None:
        """Args:
        progress: What the steps are counted by.
        lengths: The tokens of each row.
        order: The rows of an epoch, counted from 0, as the framework draws them.
        """
        self.progress = progress
        self.lengths = lengths
        self._draw = order
        self._epoch = -1
        self._order: list[int] = []
        self._after_row: list[int] = []

    def rows_of(self, step: int) -> list[int]:
        """The rows of a step, counted from 0 among those trained on; steps are counted from 1."""
        epoch, index = divmod(step - 1, self.progress.steps_per_epoch)
        self._arrange(epoch)
        batch = self.progress.effective_batch_size
        return self._order[index * batch : (index + 1) * batch]

    def tokens_after(self, steps: int) -> int:
        """Tokens of the rows of so many steps. Frameworks' own counts may hold padding and fillers."""
        epoch, rest = divmod(steps, self.progress.steps_per_epoch)
        before = epoch * sum(self.lengths)
        if rest == 0:
            return before
        self._arrange(epoch)
        return before + self._after_row[min(rest * self.progress.effective_batch_size, self.progress.rows)]

    def _arrange(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(self._draw(epoch))
            self._after_row = [0, *accumulate(self.lengths[row] for row in self._order)]
