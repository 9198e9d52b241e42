from contextlib import AbstractContextManager
from typing import Any

from on_cpu import on_cpu

from training_hub.testing import BackendContract


class TestInstructLab(BackendContract):
    backend = "instructlab-training"

    @classmethod
    def environment(cls) -> AbstractContextManager[Any]:
        return on_cpu("instructlab-training")
