"""How an effective batch is cut: processes x rows in a forward pass x forward passes, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training_hub.backends.devices import Devices
from training_hub.errors import BackendUnavailableError, ParameterError
from training_hub.parameters.resolution import Parameters, micro_batch_contradiction


@dataclass(frozen=True)
class BatchPlan:
    """`effective_batch_size = micro_batch_size * gradient_accumulation_steps * world_size`."""

    effective_batch_size: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    world_size: int


def processes(parameters: Parameters, devices: Devices) -> int:
    """Processes on this node that `nproc_per_node` asks for.

    Raises:
        BackendUnavailableError: There are fewer devices than that.
    """
    asked = parameters["nproc_per_node"]
    gpus = devices.count if devices.kind != "cpu" else 0
    if asked == "gpu" and not gpus:
        raise BackendUnavailableError("nproc_per_node='gpu': this machine has no GPU; give a number or 'auto'")
    if isinstance(asked, str):
        return max(1, gpus)
    if asked > devices.count:
        raise BackendUnavailableError(
            f"nproc_per_node={asked}: this machine has {devices}; give at most {devices.count}"
        )
    return int(asked)


def plan_batches(parameters: Parameters, world_size: int, *, sequences: int = 1) -> BatchPlan:
    """Cut the effective batch for `world_size` processes.

    Without micro-batches given, a forward pass takes as many rows as `max_tokens_per_gpu` holds at the longest length.

    Args:
        parameters: Those of the run.
        world_size: Processes that train, on all nodes.
        sequences: Sequences that a row has; a pair has two.

    Raises:
        ParameterError: The numbers given do not multiply to the effective batch.
    """
    micro, steps = parameters.get("micro_batch_size"), parameters.get("gradient_accumulation_steps")
    effective = parameters["effective_batch_size"]
    if micro and steps:
        if problem := micro_batch_contradiction(parameters, world_size):
            raise ParameterError(problem)
        return BatchPlan(micro * steps * world_size, micro, steps, world_size)
    if effective % world_size:
        near = (effective // world_size * world_size, (effective // world_size + 1) * world_size)
        raise ParameterError(
            f"effective_batch_size={effective} cannot be shared out evenly by {world_size} processes "
            f"(nproc_per_node x nnodes): give {' or '.join(str(n) for n in near if n)}"
        )
    share = effective // world_size
    for name, value in (("micro_batch_size", micro), ("gradient_accumulation_steps", steps)):
        if value and share % value:
            raise ParameterError(
                f"effective_batch_size={effective} is {share} rows a process, which {name}={value} does not divide"
            )
    if steps:
        micro = share // steps
    elif not micro:
        micro = _largest_divisor(share, parameters["max_tokens_per_gpu"] // (sequences * row_length(parameters)))
    return BatchPlan(effective, micro, share // micro, world_size)


def row_length(parameters: Mapping[str, Any]) -> int:
    """The longest row in tokens: `block_size` in pretraining, else `max_seq_len`."""
    length = parameters["block_size"] if parameters["is_pretraining"] else parameters["max_seq_len"]
    return int(length)


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, max(1, min(number, limit)) + 1) if number % n == 0)
