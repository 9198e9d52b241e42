"""This process' place among those that torchrun started, told before they have met, and the group once they have.

A scheduler may have set RANK and WORLD_SIZE for a process that is none of several.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def rank() -> int:
    """The rank, over all nodes; 0 where torchrun did not start this process."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def local_rank() -> int:
    """The rank on this node; 0 where torchrun did not start this process."""
    return int(os.environ["LOCAL_RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def world_size() -> int:
    """How many processes train, on all nodes."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def process_group() -> ModuleType | None:
    """`torch.distributed`, where the processes have met; None where there is no group, and then torch stays away."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
