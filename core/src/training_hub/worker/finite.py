"""What becomes of a run whose loss is NaN or infinite, the same on every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_hub.errors import NonFiniteLossError

_SHOWN = 32


def check_finite(loss: float, step: int, rows: Sequence[int] | None, on_nan: str) -> str | None:
    """Look at the loss of a step.

    Args:
        loss: In nats a trained token.
        step: The step that it is of.
        rows: The rows of that step's batch, counted from 0 among those trained on; None where they are not known.
        on_nan: The parameter: `stop` or `warn`.

    Returns:
        The text of a warning, or None where the loss is a number.

    Raises:
        NonFiniteLossError: The run is to stop.
    """
    if math.isfinite(loss):
        return None
    said = f"the loss of step {step} is {loss}"
    if rows:
        shown = ", ".join(str(row + 1) for row in rows[:_SHOWN]) + (", ..." if len(rows) > _SHOWN else "")
        said += f"; its rows, counted from 1 among those trained on: {shown}"
    if on_nan == "stop":
        raise NonFiniteLossError(f"{said}; lower learning_rate, look at these rows, or give on_nan='warn' to train on")
    return said
