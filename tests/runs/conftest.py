"""A backend that trains nothing, in this process: it tells of steps as a real one does, and obeys."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from training_hub import AlgorithmRegistry, FrameworkBackend, TrainingHubCallback, TrainingHubContext, TrainingResult
from training_hub.backends.translation import Translation, by_hub, translate
from training_hub.launchers.plan import LaunchPlan
from training_hub.store.checkpoints import checkpoint_path, seal
from training_hub.store.control import ControlReader
from training_hub.store.events import SCHEMA, EventLog
from training_hub.worker.callbacks import RankCallbacks

STEPS = 400


class Counting(FrameworkBackend):
    """Counts steps; its weights are the number of steps done."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft",)
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save"})
    callbacks_on_ranks: ClassVar[bool] = True
    pace: ClassVar[float] = 0.002
    steps: ClassVar[int] = STEPS

    def translate(self, parameters: Any) -> Translation:
        return translate(self.name, {name: by_hub("counted") for name in parameters.declared}, parameters)

    def train(self, run: Any) -> TrainingResult:
        directory, control_reader, ranks = run.directory, ControlReader(run.directory), RankCallbacks(run.job())
        done = run.resume_from.step if run.resume_from else 0
        ranks.events.emit(
            "start",
            schema=SCHEMA,
            algorithm="sft",
            backend=self.name,
            rows=4,
            max_steps=self.steps,
            resumed_from=done or None,
        )
        ranks.begin("the model", "its tokenizer")
        last: dict[str, Any] = {}
        for step in range(done + 1, self.steps + 1):
            ranks.meet()
            threading.Event().wait(self.pace)
            last = {"step": step, "max_steps": self.steps, "epoch": step / 100, "loss": 1 / step, "tokens": step * 10}
            ranks.events.emit("step", **last)
            if step % 100 == 0:
                ranks.events.emit("epoch", epoch=step // 100, step=step)
            orders = control_reader.orders()
            if orders.save or orders.stop:
                self.save(run, ranks.events, step)
            if orders.stop and step < self.steps:
                ranks.events.emit("stop", step=step, reason=control_reader.reason)
                ranks.end(last)
                return TrainingResult(checkpoint_path(directory.path, step), last, self.name, directory.path)
        directory.final.mkdir()
        ranks.end(last)
        return TrainingResult(directory.final, last, self.name, directory.path)

    def save(self, run: Any, events: EventLog, step: int) -> None:
        saved = checkpoint_path(run.directory.path, step)
        saved.mkdir()
        (saved / "weights").write_text(str(step))
        seal(saved, step, resumable=True)
        events.emit("save", step=step, checkpoint=str(saved))


class Unsteered(Counting):
    """Cannot be asked for anything."""

    controls: ClassVar[frozenset[str]] = frozenset()
    callbacks_on_ranks: ClassVar[bool] = False


class Elsewhere(Counting):
    """Trains in a process of its own."""

    def translate(self, parameters: Any) -> Translation:
        return replace(super().translate(parameters), launch=LaunchPlan("nowhere", 1, torchrun=False))


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    added = {("sft", "counting"): Counting, ("sft", "unsteered"): Unsteered, ("sft", "elsewhere"): Elsewhere}
    monkeypatch.setattr(AlgorithmRegistry, "_backends", {**AlgorithmRegistry._backends, **added})


class StopAt(TrainingHubCallback):
    """Stops a run once it has told of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_log(self, context: TrainingHubContext) -> None:
        if context.step == self.step:
            context.stop()


@pytest.fixture
def stop_at() -> type[StopAt]:
    return StopAt


@pytest.fixture
def job(model: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """A request that holds."""
    return {"model_path": model, "data_path": rows, "ckpt_output_dir": tmp_path / "out", "backend": "counting"}
