"""Runs of the backend on a CPU, read back, and held against plain transformers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from training_hub.runs.events import read_events
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "cpu_device"))
from on_cpu import on_cpu  # noqa: E402

FLOAT32 = Path(__file__).parent / "float32"

# One thread, so that a process alone and one of two do the same sums in the same order.
torch.set_num_threads(1)


@contextmanager
def backend_on_cpu(*, float32: bool = False) -> Iterator[None]:
    """The backend is available; mini-trainer's packer is not compiled, which would take longer than the training."""
    variables = {"TESTING": "true", "NUMBA_DISABLE_JIT": "1"} | ({"PYTHONPATH": str(FLOAT32)} if float32 else {})
    with on_cpu("mini-trainer", **variables):
        yield


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind of a run."""
    return [event for event in read_events(directory / "events.jsonl") if event["event"] == kind]


def losses(directory: Path) -> list[float]:
    return [event["loss"] for event in events(directory, "step")]


def row_losses(model: Path) -> Callable[[Path], list[tuple[float, int]]]:
    """For a file of processed rows: each row's loss in nats over its trained tokens, and their number, one at a time."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def of(row: dict[str, list[int]]) -> tuple[float, int]:
        targets = torch.tensor(row["labels"][1:])
        with torch.no_grad():
            logits = network(torch.tensor([row["input_ids"]])).logits[0, :-1].float()
        total = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")
        return total.item(), int((targets != -100).sum())

    return lambda file: [of(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def mean_loss(model: Path, file: Path) -> float:
    """The loss of a model over all trained tokens of processed rows."""
    found = row_losses(model)(file)
    return sum(total for total, _ in found) / sum(count for _, count in found)
