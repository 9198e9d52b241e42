"""What is asked of a run while it trains, obeyed on every rank alike by a loop in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training_hub.store.control import ControlReader, Orders

if TYPE_CHECKING:
    import torch


def orders_on_every_rank(control_reader: ControlReader | None, device: torch.device) -> Orders:
    """What the caller asks for, as rank 0 has read it; called by all ranks after each step.

    Args:
        control_reader: On rank 0; the others have none, or do not ask it.
        device: Where the process group's backend can send tensors from.
    """
    import torch
    from torch import distributed

    several = distributed.is_initialized() and distributed.get_world_size() > 1
    found = control_reader.orders() if control_reader and not (several and distributed.get_rank()) else Orders()
    if not several:
        return found
    numbers = torch.tensor(found.numbers(), dtype=torch.float64, device=device)
    distributed.broadcast(numbers, 0)
    return Orders.of(numbers.tolist())


def set_learning_rate(value: float, optimizer: Any, schedule: Any) -> None:
    """Train on with this learning rate; the schedule goes on in proportion.

    Args:
        value: Of the next step.
        optimizer: A `torch.optim.Optimizer`.
        schedule: Its learning rate scheduler, or accelerate's wrapping of it.
    """
    # Schedules without base rates follow the optimizer alone.
    bases = getattr(getattr(schedule, "scheduler", schedule), "base_lrs", None)
    for index, group in enumerate(optimizer.param_groups):
        factor = value / group["lr"] if group["lr"] > 0 else None
        group["lr"] = value
        if bases is not None:
            bases[index] = bases[index] * factor if factor else value
