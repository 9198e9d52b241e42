"""What users of any backend rely on.

Without a GPU in float32, so that figures can be held to more digits than bfloat16 has.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from minitrainer_runs import backend_on_cpu

from training_hub.plugin import devices
from training_hub.testing import BackendContract

ON_A_GPU = devices().kind == "cuda"


class TestMiniTrainer(BackendContract):
    backend = "mini-trainer"
    tolerance = None if ON_A_GPU else 1e-4

    @classmethod
    def environment(cls) -> AbstractContextManager[Any]:
        return nullcontext() if ON_A_GPU else backend_on_cpu(float32=True)
