"""A backend that tells of a run without training, and the real tracking systems beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from training_hub import FrameworkBackend, TrainingResult
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation, by_hub, exact, translate
from training_hub.parameters import Parameters

STEPS = 5


def losses() -> list[float]:
    return [2.0 / step for step in range(1, STEPS + 1)]


class Telling(FrameworkBackend):
    """Emits the events of a run of five steps with one validation."""

    algorithms = ("sft",)
    between: Callable[[int, Run], None] | None = None
    """Called before each step."""

    def translate(self, parameters: Parameters) -> Translation:
        rules = {name: by_hub("told") for name in parameters.declared} | {"learning_rate": exact("Loop.lr")}
        return translate(self.name, rules, parameters)

    def train(self, run: Run) -> TrainingResult:
        run.events.emit("start", algorithm="sft", backend=self.name, rows=1, max_steps=STEPS, resumed_from=None)
        for step, loss in enumerate(losses(), start=1):
            if type(self).between:
                type(self).between(step, run)
            run.events.emit(
                "step",
                step=step,
                max_steps=STEPS,
                epoch=step / STEPS,
                loss=loss,
                learning_rate=1e-3,
                grad_norm=0.5,
                tokens=10 * step,
                tokens_per_second=100.0,
                framework={"samples per s": 3.5, "name": "text", "on": True},
            )
        run.events.emit("eval", step=STEPS, epoch=1.0, validation_loss=0.25)
        return TrainingResult(
            None, {"loss": losses()[-1], "step": STEPS, "seconds": 1.5}, self.name, run.directory.path
        )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """A real MLflow server on this machine."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self.log = directory / "server.log"
        interpreter = os.environ.get("TRAINING_HUB_MLFLOW_PYTHON", sys.executable)
        command = [
            *(interpreter, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{directory}/mlflow.db"),
            *("--artifacts-destination", str(directory / "artifacts")),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=directory, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the MLflow server did not come up:\n{self.log.read_text()}")

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
            return False

    def pause(self) -> None:
        """Let it answer nothing more, though it is there."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while self._answers():
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether one of its processes still holds the port."""
        host, _, port = self.uri.rpartition("/")[2].partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True


def events_of(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = (directory / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]
