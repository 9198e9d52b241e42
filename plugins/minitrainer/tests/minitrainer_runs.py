"""Runs of the backend on a CPU, read back, and held against plain transformers."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from training_hub.store.events import read_events

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "cpu_device"))
from on_cpu import on_cpu

# One thread, so that a process alone and one of two do the same sums in the same order.
torch.set_num_threads(1)


@contextmanager
def backend_on_cpu(*, float32: bool = False) -> Iterator[None]:
    """The backend is available; mini-trainer's packer is not compiled, which would take longer than the training.

    Args:
        float32: Compute so, and not in bfloat16 as mini-trainer always does, which alone moves a loss by some 1e-3.
    """
    variables = {"TESTING": "true", "NUMBA_DISABLE_JIT": "1"} | ({"TRAINING_HUB_CPU_FLOAT32": "1"} if float32 else {})
    with on_cpu("mini-trainer", **variables):
        yield


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind of a run."""
    return [event for event in read_events(directory / "events.jsonl") if event["event"] == kind]


def losses(directory: Path) -> list[float]:
    return [event["loss"] for event in events(directory, "step")]


Row = dict[str, list[int]]


def summed_loss(network: torch.nn.Module, rows: list[Row]) -> torch.Tensor:
    """The loss in nats of processed rows, each on its own, summed over their trained tokens."""
    total = torch.zeros(())
    for row in rows:
        logits = network(torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1].float()
        targets = torch.tensor(row["labels"][1:])
        total = total + torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")
    return total


def row_losses(model: Path, file: Path) -> list[tuple[float, int]]:
    """For a file of processed rows: each row's loss, summed over its trained tokens, and their number."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    rows: list[Row] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with torch.no_grad():
        return [(summed_loss(network, [row]).item(), sum(label != -100 for label in row["labels"])) for row in rows]


def mean_loss(model: Path, file: Path) -> float:
    """The loss of a model over all trained tokens of processed rows."""
    found = row_losses(model, file)
    return sum(total for total, _ in found) / sum(count for _, count in found)
