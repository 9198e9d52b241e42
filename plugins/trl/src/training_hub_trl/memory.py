"""Keeps the memory of freed tensors in the process, where tensors live in main memory."""

import ctypes
import os
import sys

# glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST, LARGEST_ONCE = 1 << 30, 1 << 25
"""Bytes of a block that may be kept, now and in releases of glibc that allow less."""
KEPT = (1 << 31) - 1
"""Bytes at the end of the heap from which on memory is given back."""


def keep_freed_memory() -> bool:
    """Let malloc hand out freed memory again instead of giving it back to the system.

    A training step frees its tensors and asks for the same ones in the next; by default glibc returns large blocks at
    once, and the system must fill each page with zeros when it is next written to. See mallopt(3). Holds for the
    process until it ends.

    Returns:
        Whether it was set: not with another C library than glibc, nor where the variables of the environment
        `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_` or `GLIBC_TUNABLES` already say what malloc should do.
    """
    chosen = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and not chosen else None
    if mallopt is None:
        return False
    # The second only after the first: it also ends glibc's own raising of the threshold for blocks.
    return bool(
        (mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, LARGEST_ONCE))
        and mallopt(M_TRIM_THRESHOLD, KEPT)
    )
