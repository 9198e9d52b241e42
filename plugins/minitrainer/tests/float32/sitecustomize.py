"""The stand-in for CUDA, and besides: mini-trainer computes in float32.

It has bfloat16 written into its FSDP policy, which alone moves a loss by some 1e-3. Where tests compare numbers to more
digits than that, the workers get this directory on PYTHONPATH instead of `tests/cpu_device`.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

STAND_IN = Path(__file__).parents[4] / "tests" / "cpu_device" / "sitecustomize.py"


def compute_in_float32() -> None:
    from torch.distributed import fsdp

    policy = fsdp.MixedPrecisionPolicy

    def in_float32(**given: Any) -> Any:
        return policy(**given | {"param_dtype": None})

    fsdp.MixedPrecisionPolicy = in_float32


runpy.run_path(str(STAND_IN))
if os.environ.get("TRAINING_HUB_CPU_DEVICE") == "1" and "LOCAL_RANK" in os.environ:
    compute_in_float32()
