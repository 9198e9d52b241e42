"""Runs as they lie on the disk, their events written by the log that runs write by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training_hub.store.events import EventLog

MakeRun = Callable[..., Path]

FIGURES = {
    "loss": {"unit": "nats a pair", "less_is_better": True},
    "reward_margin": {"unit": "nats", "less_is_better": False},
    "reward_accuracy": {"unit": "", "less_is_better": False},
    "distance": {"unit": "nats a token", "less_is_better": None},
}
"""As the manifest of an algorithm that learns from pairs describes them."""


def manifest(**parts: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "state": "completed",
        "start": 1000.0,
        "end": 1100.0,
        "algorithm": "sft",
        "backend": "trl",
        "backend_choice": "backend trl: named in the call",
        "versions": {"training-hub": "1.0.0", "trl": "1.16.0", "torch": "2.13.0+cpu"},
        "parameters": {
            "model_path": {"value": "a model", "origin": "call"},
            "ckpt_output_dir": {"value": "out", "origin": "call"},
            "learning_rate": {"value": 1e-3, "origin": "file run.yaml:3"},
            "seed": {"value": 42, "origin": "default"},
        },
        "further": {"neftune_noise_alpha": 5},
        "data": {"path": "rows.jsonl", "format": "messages", "rows": 20, "sha256": "abc"},
    } | parts


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        name: str = "run", losses: tuple[float, ...] = (3.0, 2.0, 1.5), end: str | None = "end", **parts: Any
    ) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        log = EventLog(path / "events.jsonl")
        most = len(losses)
        log.emit("start", schema=1, algorithm="sft", backend="trl", rows=20, max_steps=most, resumed_from=None)
        log.emit("warning", message="2 rows are too long")
        for step, loss in enumerate(losses, 1):
            log.emit(
                "step",
                step=step,
                max_steps=most,
                epoch=step / most,
                loss=loss,
                learning_rate=1e-3,
                grad_norm=1.0,
                tokens=100 * step,
                tokens_per_second=50.0,
                framework={"entropy": 1.0},
            )
            log.emit("eval", step=step, epoch=step / most, validation_loss=loss + 0.1)
        if end == "end":
            log.emit("save", step=most, checkpoint=str(path / "final"))
            log.emit("end", state="completed", metrics={"loss": losses[-1]} if losses else {})
        elif end == "fail":
            log.emit("fail", error="ValueError", message="no")
        (path / "run.json").write_text(json.dumps(manifest(**parts)), encoding="utf-8")
        return path

    return make


@pytest.fixture
def make_pairs(tmp_path: Path) -> MakeRun:
    """A run whose algorithm has figures of its own."""

    def make(
        name: str = "pairs",
        margins: tuple[float | None, ...] = (0.0, 0.5, 0.25),
        validations: bool = True,
        **parts: Any,
    ) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        log = EventLog(path / "events.jsonl")
        most = len(margins)
        log.emit("start", schema=1, algorithm="dpo", backend="trl", rows=20, max_steps=most, resumed_from=None)
        for step, margin in enumerate(margins, 1):
            loss = 0.7 - 0.1 * step
            own = {} if margin is None else {"reward_margin": margin, "reward_accuracy": step / most, "distance": 2e5}
            log.emit("step", step=step, max_steps=most, epoch=step / most, loss=loss, tokens=100 * step, **own)
            if validations:
                log.emit("eval", step=step, epoch=step / most, validation_loss=loss, validation_reward_margin=-step / 4)
        log.emit("end", state="completed", metrics={})
        (path / "run.json").write_text(
            json.dumps(manifest(algorithm="dpo", figures=FIGURES, **parts)), encoding="utf-8"
        )
        return path

    return make
