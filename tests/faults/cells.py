"""What is tried: which algorithms of which backend, on how many processes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

FRAMEWORKS = {
    "trl": "trl",
    "instructlab-training": "instructlab-training",
    "mini-trainer": "rhai-innovation-mini-trainer",
}
"""Backends, and the distributions of what they run."""
OWN: dict[str, dict[str, Any]] = {
    "sft": {},
    "osft": {"unfreeze_rank_ratio": 0.25},
    # With dropout, so that the random state counts too.
    "lora_sft": {"lora_r": 8, "lora_dropout": 0.1},
}


@dataclass(frozen=True)
class Cell:
    """One kind of run."""

    backend: str
    algorithm: str
    processes: int

    def __str__(self) -> str:
        return f"{self.backend}-{self.algorithm}-{self.processes}"

    def parameters(self) -> dict[str, Any]:
        """35 steps on 50 rows, a checkpoint to resume from after each seven; without model, rows and directory."""
        return {
            "backend": self.backend,
            "num_epochs": 5,
            "effective_batch_size": 8,
            "learning_rate": 2e-3,
            "max_seq_len": 256,
            "checkpoint_at_epoch": True,
            "weight_decay": 0.1,
            "warmup_steps": 3,
            "nproc_per_node": self.processes,
            **OWN[self.algorithm],
        }


ALL = [
    *(Cell("trl", algorithm, processes) for algorithm in OWN for processes in (1, 2)),
    Cell("instructlab-training", "sft", 2),
    Cell("mini-trainer", "osft", 1),
    Cell("mini-trainer", "sft", 2),
]
SHORT = Cell("trl", "osft", 1)
"""The one that is killed in a test of every day."""


def here(*, processes: int | None = None, algorithm: str | None = None) -> list[Cell]:
    """The cells whose backend is installed."""
    installed = {entry.name for entry in entry_points(group="training_hub.backends")}
    return [
        cell
        for cell in ALL
        if cell.backend in installed and processes in (None, cell.processes) and algorithm in (None, cell.algorithm)
    ]
