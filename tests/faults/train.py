"""Carries out one run in a process of its own, which may be killed: `python train.py JOB.json`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "cpu_device"))
from on_cpu import on_cpu

import training_hub
from training_hub.backends.devices import devices

NEEDS_CUDA = {"instructlab-training": {}, "mini-trainer": {"TESTING": "true", "NUMBA_DISABLE_JIT": "1"}}
"""Backends that a stand-in puts on the CPU, with the variables they want there."""


class Spoils(training_hub.TrainingHubCallback):
    """Gives the run a learning rate, once its first checkpoint is there, after which no loss is a number."""

    def __init__(self) -> None:
        self.done = False

    def on_save(self, context: training_hub.TrainingHubContext) -> None:
        if not self.done:
            self.done = True
            context.set_learning_rate(1e30)


def main(job: dict[str, Any]) -> None:
    asked = job["asked"]
    stand_in = asked["backend"] in NEEDS_CUDA and devices().kind == "cpu"
    here = on_cpu(asked["backend"], **NEEDS_CUDA[asked["backend"]]) if stand_in else contextlib.nullcontext()
    if job["spoil"]:
        asked["callbacks"] = Spoils()
    with here:
        getattr(training_hub, job["algorithm"])(**asked)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
