"""The order of rows in each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """A new permutation of the real rows in each epoch, then the rows that fill up the last batch.

    The order depends on seed and epoch alone, so that one process and several see the same effective batches.
    """

    def __init__(self, real: int, total: int, seed: int) -> None:
        self.real = real
        self.total = total
        self.seed = seed
        self.epoch = 0
        """The epoch at hand, counted from 0. Set by `TrainerLoop`: accelerate's loaders lose count in a resumed one."""

    def __len__(self) -> int:
        return self.total

    def of(self, epoch: int) -> list[int]:
        """The real rows of an epoch, in its order."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        found: list[int] = torch.randperm(self.real, generator=generator).tolist()
        return found

    def __iter__(self) -> Iterator[int]:
        yield from self.of(self.epoch)
        yield from range(self.real, self.total)
