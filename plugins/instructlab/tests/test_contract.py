from contextlib import AbstractContextManager, nullcontext
from typing import Any

from on_cpu import on_cpu

from training_hub.plugin import devices
from training_hub.testing import BackendContract


class TestInstructLab(BackendContract):
    backend = "instructlab-training"

    @classmethod
    def environment(cls) -> AbstractContextManager[Any]:
        return nullcontext() if devices().kind == "cuda" else on_cpu("instructlab-training")
