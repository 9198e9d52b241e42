"""A run that is stopped is not done: the command line says how it goes on, and its exit code ends a chain of commands."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training_hub import AlgorithmRegistry, TrainingResult
from training_hub.cli import main
from training_hub.store.checkpoints import checkpoint_path, seal
from training_hub.store.control import ControlReader


@pytest.fixture
def stops(translating: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the run be told to stop at its second step of three."""

    def at_its_second_step(number: signal.Signals, *, saves: bool = True, most: int | None = 3) -> None:
        class Stops(translating):  # type: ignore[misc]
            controls = frozenset({"stop"})

            def train(self, run: Any) -> TrainingResult:
                run.events.emit("start", algorithm="sft", backend=self.name, rows=2, max_steps=most, num_epochs=1)
                os.kill(os.getpid(), number)
                while not ControlReader(run.directory).orders().stop:
                    pass
                saved = checkpoint_path(run.directory.path, 2)
                if saves:
                    saved.mkdir()
                    seal(saved, 2, resumable=True)
                figures = {"loss": 2.0, "step": 2, "max_steps": most}
                return TrainingResult(saved if saves else None, figures, self.name, run.directory.path)

        monkeypatch.setitem(AlgorithmRegistry._backends, ("sft", "translating"), Stops)

    return at_its_second_step


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_where_it_stopped_and_how_it_goes_on(
    stops: Callable[..., None],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    stops(number)
    out = tmp_path / "a run"
    assert main(["train", "sft", *options, "--ckpt-output-dir", str(out)]) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "stopped at step 2 of 3",
        f"checkpoint: {out / 'checkpoint-2'}",
        f"run: {out}",
        f"to go on: training-hub resume {shlex.quote(str(out))}",
    ]
    assert "interrupted" not in printed.err


def test_one_that_saved_nothing_says_so(
    stops: Callable[..., None], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stops(signal.SIGINT, saves=False, most=None)
    assert main(["train", "sft", *options]) == 130
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"nothing is saved to go on from; to start again: training-hub resume {tmp_path / 'out'}"


def test_one_that_was_over_before_is_done(
    translating: Any, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = translating.train

    def train(self: Any, run: Any) -> TrainingResult:
        found: TrainingResult = whole(self, run)
        found.metrics["max_steps"] = 3
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(translating, "train", train)
    monkeypatch.setattr(translating, "controls", frozenset({"stop"}))
    assert main(["train", "sft", *options]) == 0
    assert "done: 3 steps" in capsys.readouterr().out
