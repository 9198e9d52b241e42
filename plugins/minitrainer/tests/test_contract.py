"""What users of any backend rely on, in float32, so that figures can be held to more digits than bfloat16 has."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from minitrainer_runs import backend_on_cpu

from training_hub.testing import BackendContract


class TestMiniTrainer(BackendContract):
    backend = "mini-trainer"
    tolerance = 1e-4

    @classmethod
    def environment(cls) -> AbstractContextManager[Any]:
        return backend_on_cpu(float32=True)
