"""A run that is told of, and servers that listen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from training_hub import AlgorithmRegistry, TrainingResult, create_algorithm
from training_hub.backends.run import Run

sys.path.insert(0, str(Path(__file__).parent))
from telling import Server, Telling


@pytest.fixture(autouse=True)
def _no_tracker_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_", "TENSORBOARD_")):
            monkeypatch.delenv(name)
    # A database of MLflow's keeps artifacts beside the process.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def train(model: Path, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainingResult]:
    monkeypatch.setattr(AlgorithmRegistry, "_backends", dict(AlgorithmRegistry._backends))
    AlgorithmRegistry.register_backend("sft", "telling", Telling)
    monkeypatch.setattr(Telling, "between", None)

    def run(
        between: Callable[[int, Run], None] | None = None, ckpt_output_dir: Path = out, **values: Any
    ) -> TrainingResult:
        Telling.between = staticmethod(between) if between else None  # type: ignore[assignment]
        needed = {"model_path": model, "data_path": rows, "ckpt_output_dir": ckpt_output_dir}
        return create_algorithm("sft", backend_name="telling").train(**needed, **values)

    return run


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("mlflow"))
    yield found
    found.kill()


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that some tests pause, and the last of them kills."""
    found = Server(tmp_path_factory.mktemp("mortal"))
    yield found
    found.kill()
