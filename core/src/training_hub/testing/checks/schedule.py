"""The learning rates that a schedule asks for, by its formula: held against those that a backend reports.

The formulas are those of `transformers.get_scheduler`, in whose terms `lr_scheduler` is declared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_AFTER_WARMUP: Mapping[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "constant_with_warmup": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
"""Share of the peak, by the share of the steps after warmup that are done before the step."""


def expected_rates(values: Mapping[str, Any], steps: int) -> list[float] | None:
    """The learning rate of each step, from the first; None where the formula of the schedule is not known here.

    Args:
        values: The run's parameters, defaults included: `learning_rate`, `lr_scheduler`, `lr_scheduler_kwargs`,
            `warmup_steps`.
        steps: Optimizer steps of the run.
    """
    share = _AFTER_WARMUP.get(values.get("lr_scheduler", ""))
    if share is None or "learning_rate" not in values or values.get("lr_scheduler_kwargs"):
        return None
    warmup = 0 if values["lr_scheduler"] == "constant" else values.get("warmup_steps") or 0
    peak = values["learning_rate"]
    return [
        peak * (step / warmup if step < warmup else share((step - warmup) / max(1, steps - warmup)))
        for step in range(steps)
    ]
