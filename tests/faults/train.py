"""Carries out one run in a process of its own, which may be killed: `python train.py JOB.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "cpu_device"))
from on_cpu import where_it_can

import training_hub


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
    if job["spoil"]:
        asked["callbacks"] = Spoils()
    with where_it_can(asked["backend"], NUMBA_DISABLE_JIT="1"):
        getattr(training_hub, job["algorithm"])(**asked)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
