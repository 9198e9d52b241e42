"""This process' place among those that torchrun started, told before they have met.

A scheduler may have set RANK and WORLD_SIZE for a process that is none of several.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The rank, over all nodes; 0 where torchrun did not start this process."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def world_size() -> int:
    """How many processes train, on all nodes."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
