"""What TRL before 1.16 cannot do, and how it is done without it.

These releases are supported because unsloth 2026.10 takes no newer one.
"""

from __future__ import annotations

from typing import Any

import torch
import trl
from packaging.version import Version
from transformers import Trainer
from trl.trainer import utils

IS_OLD = Version(trl.__version__) < Version("1.16")


def lacks_loss(device: torch.device) -> bool:
    """Whether this TRL has no loss for the device: before 1.16 it is a Triton kernel's work, everywhere.

    Where something else stands in the kernel's place (unsloth puts its own there), that is used.
    """
    kernel = getattr(utils, "_ChunkedLogProbFunction", None)
    return IS_OLD and device.type not in ("cuda", "xpu") and (kernel is None or kernel.__module__.startswith("trl."))


def model_loss(trainer: Trainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """The model's own loss, by transformers: the same cross-entropy, from logits that are held in full."""
    return Trainer.compute_loss(trainer, model, {**inputs, "use_cache": False}, *args, **kwargs)
