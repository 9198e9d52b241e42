"""Callbacks that are ready to use."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

from training_hub.callbacks import TrainingHubCallback, TrainingHubContext
from training_hub.errors import ParameterError


class EarlyStopping(TrainingHubCallback):
    """Stops a run whose figure has not become better for some time.

    Args:
        metric: `validation_loss`, looked at after each validation, or a step's, such as `loss`. Less is better.
        patience: How many of these in a row may bring no improvement.
        min_delta: Least fall that counts as an improvement, in the figure's own unit.

    Attributes:
        best: The lowest figure so far.
        best_step: The step it is of.
    """

    def __init__(self, metric: str = "validation_loss", patience: int = 3, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ParameterError(f"EarlyStopping(patience={patience!r}): expected at least 1")
        if min_delta < 0:
            raise ParameterError(f"EarlyStopping(min_delta={min_delta!r}): expected 0 or more")
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self.best = math.inf
        self.best_step: int | None = None
        self._idle = 0

    def on_log(self, context: TrainingHubContext) -> None:
        if self.metric != "validation_loss":
            self._look(context)

    def on_evaluate(self, context: TrainingHubContext) -> None:
        if self.metric == "validation_loss":
            self._look(context)

    def _look(self, context: TrainingHubContext) -> None:
        value = context.metrics.get(self.metric)
        if not isinstance(value, int | float):
            known = ", ".join(name for name, figure in context.metrics.items() if isinstance(figure, int | float))
            raise ParameterError(f"EarlyStopping(metric={self.metric!r}): there is no such figure, but {known}")
        if value < self.best - self.min_delta:
            self.best, self.best_step, self._idle = float(value), context.step, 0
            return
        self._idle += 1
        if self._idle >= self.patience:
            context.stop(f"{self.metric} has not fallen below {self.best:.6g}, of step {self.best_step}")


class LossSpike(TrainingHubCallback):
    """Notices a loss far above those of the steps before.

    Args:
        factor: How many times the median of the last losses counts as a spike.
        window: How many losses that median is of; before there are so many, nothing is said.
        action: `warn`, with an event that every reader of the run sees, or `stop`.
    """

    def __init__(self, factor: float = 2.0, window: int = 20, action: Literal["warn", "stop"] = "warn") -> None:
        if not factor > 1:
            raise ParameterError(f"LossSpike(factor={factor!r}): expected a number above 1")
        if window < 1:
            raise ParameterError(f"LossSpike(window={window!r}): expected at least 1")
        if action not in ("warn", "stop"):
            raise ParameterError(f"LossSpike(action={action!r}): expected 'warn' or 'stop'")
        self.factor, self.action = factor, action
        self._losses: deque[float] = deque(maxlen=window)

    def on_log(self, context: TrainingHubContext) -> None:
        loss = context.loss
        assert loss is not None
        if len(self._losses) == self._losses.maxlen:
            usual = sorted(self._losses)[len(self._losses) // 2]
            if loss > self.factor * usual:
                self._spike(context, f"the loss of step {context.step} is {loss:.4f}, and was about {usual:.4f} before")
        self._losses.append(loss)

    def _spike(self, context: TrainingHubContext, said: str) -> None:
        if self.action == "stop":
            context.stop(said)
        elif context.emit is not None:
            context.emit("warning", step=context.step, message=said)
