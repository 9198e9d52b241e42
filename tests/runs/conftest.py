"""A backend that trains nothing, in this process: it tells of steps as a real one does, and obeys."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from training_hub import AlgorithmRegistry, FrameworkBackend, TrainingResult
from training_hub.runs.checkpoints import place, seal
from training_hub.runs.control import Steering
from training_hub.runs.events import SCHEMA
from training_hub.translation import Translation, by_hub, translate

STEPS = 400


class Counting(FrameworkBackend):
    """Counts steps; its weights are the number of steps done."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft",)
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save"})
    pace: ClassVar[float] = 0.002
    steps: ClassVar[int] = STEPS

    def translate(self, parameters: Any) -> Translation:
        return translate(self.name, {name: by_hub("counted") for name in parameters.declared}, parameters)

    def train(self, run: Any) -> TrainingResult:
        directory, steering = run.directory, Steering(run.directory)
        done = run.resume_from.step if run.resume_from else 0
        run.events.emit(
            "start",
            schema=SCHEMA,
            algorithm="sft",
            backend=self.name,
            rows=4,
            max_steps=self.steps,
            resumed_from=done or None,
        )
        last: dict[str, Any] = {}
        for step in range(done + 1, self.steps + 1):
            threading.Event().wait(self.pace)
            last = {"step": step, "max_steps": self.steps, "epoch": step / 100, "loss": 1 / step, "tokens": step * 10}
            run.events.emit("step", **last)
            if step % 100 == 0:
                run.events.emit("epoch", epoch=step // 100, step=step)
            orders = steering.orders()
            if orders.save or orders.stop:
                self.save(run, step)
            if orders.stop and step < self.steps:
                run.events.emit("stop", step=step, reason=steering.reason)
                return TrainingResult(place(directory.path, step), last, self.name, directory.path)
        directory.final.mkdir()
        return TrainingResult(directory.final, last, self.name, directory.path)

    def save(self, run: Any, step: int) -> None:
        saved = place(run.directory.path, step)
        saved.mkdir()
        (saved / "weights").write_text(str(step))
        seal(saved, step, resumable=True)
        run.events.emit("save", step=step, checkpoint=str(saved))


class Unsteered(Counting):
    """Cannot be asked for anything."""

    controls: ClassVar[frozenset[str]] = frozenset()


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    added = {("sft", "counting"): Counting, ("sft", "unsteered"): Unsteered}
    monkeypatch.setattr(AlgorithmRegistry, "_backends", {**AlgorithmRegistry._backends, **added})


@pytest.fixture
def job(model: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """A request that holds."""
    return {"model_path": model, "data_path": rows, "ckpt_output_dir": tmp_path / "out", "backend": "counting"}
