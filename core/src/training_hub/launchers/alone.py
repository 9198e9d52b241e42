"""A process that is none of several, whatever a scheduler has set: taken for one of them, it would wait for the others.

PyTorch and accelerate go by such variables alone, also where nobody has started another process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    }
)
_BEGINNINGS = ("TORCHELASTIC_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what makes a process one of several."""
    return {
        name: value for name, value in environment.items() if name not in _NAMES and not name.startswith(_BEGINNINGS)
    }


@contextmanager
def alone_here() -> Iterator[None]:
    """While the block runs, this process is none of several; then its environment is as it was."""
    kept = alone(os.environ)
    hidden = {name: value for name, value in os.environ.items() if name not in kept}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
