"""Backends that live in the tests' own process, and files for a request that holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from training_hub import AlgorithmRegistry, Availability, Backend, FrameworkBackend, TrainingResult
from training_hub.backends.batches import plan_batches
from training_hub.backends.translation import Rule, Translation, approximate, by_hub, exact, refused, translate
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters import Parameters


class Recording(Backend):
    """Writes execute_training and nothing else; remembers what it was given."""

    seen: ClassVar[list[dict[str, Any]]] = []
    error: ClassVar[BaseException | None] = None

    def execute_training(self, algorithm_params: dict[str, Any]) -> Any:
        if self.error is not None:
            raise self.error
        self.seen.append(algorithm_params)
        return "whatever"


class Translating(FrameworkBackend):
    """Translates like a real one, and trains in no time."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft", "lora_sft", "osft")
    framework: ClassVar[str | None] = "pytest"
    available: ClassVar[Availability] = Availability(True)
    seen: ClassVar[list[Parameters]] = []

    def availability(self) -> Availability:
        return self.available

    def translate(self, parameters: Parameters) -> Translation:
        rules: dict[str, Rule] = {name: by_hub("the hub does it") for name in parameters.declared}
        rules |= {
            "learning_rate": exact("Arguments.lr"),
            "num_epochs": exact("Arguments.epochs", lambda p: float(p["num_epochs"])),
            "warmup_steps": approximate("Arguments.warmup_share", "as a share of all steps", lambda p: 0.0),
            "use_liger": refused("this framework has no such kernels"),
        }
        processes = parameters["nproc_per_node"]
        return translate(
            self.name,
            rules,
            parameters,
            settings={"Arguments.report": (False, "the hub reports")},
            accepts={"Arguments": frozenset({"lr", "epochs", "adam_epsilon", "tag"})},
            launch=LaunchPlan("some.worker", processes) if processes != 1 else None,
            batches=plan_batches(parameters, processes),
        )

    def train(self, run: Any) -> TrainingResult:
        self.seen.append(run.parameters)
        run.events.emit("start", algorithm="sft", backend=self.name, rows=2, max_steps=3, num_epochs=1)
        for step in (1, 2, 3):
            run.events.emit("step", step=step, max_steps=3, epoch=step / 3, loss=3.0 - step / 2)
        return TrainingResult(run.directory.final, {"loss": 1.5, "step": 3}, self.name, run.directory.path)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(AlgorithmRegistry, "_backends", {})
    monkeypatch.setattr(AlgorithmRegistry, "_algorithms", {})
    monkeypatch.setenv("TRAINING_HUB_PLUGINS", "")
    # pytest-xdist sets it; without it what is piped is not cut.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(Recording, "seen", [])
    monkeypatch.setattr(Translating, "seen", [])
    yield


@pytest.fixture
def recording() -> type[Recording]:
    for algorithm in ("sft", "osft", "lora_sft"):
        AlgorithmRegistry.register_backend(algorithm, "recording", Recording)
    return Recording


@pytest.fixture
def translating() -> type[Translating]:
    for algorithm in ("sft", "osft", "lora_sft"):
        AlgorithmRegistry.register_backend(algorithm, "translating", Translating)
    return Translating


@pytest.fixture
def request_files(model: Path, rows: Path, tmp_path: Path) -> dict[str, str]:
    """Options for a request that holds, by parameter name."""
    return {"model_path": str(model), "data_path": str(rows), "ckpt_output_dir": str(tmp_path / "out")}


@pytest.fixture
def options(request_files: dict[str, str]) -> list[str]:
    return [part for name, value in request_files.items() for part in (f"--{name.replace('_', '-')}", value)]
