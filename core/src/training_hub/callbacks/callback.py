"""Callbacks: the base class that `callbacks=` takes, and what each call is told.

They run in the caller's process, in a thread of their own, one call after the other, on every backend and however many
processes train. What they are told comes from the run's events, so a call follows what it tells of within a fraction
of a second; training goes on meanwhile, until callbacks are some hundred events behind.

Those of a class with `run_on_all_ranks = True` run instead in every process that trains, between one step and the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol


class RunControl(Protocol):
    """Who takes what callbacks ask of a run."""

    def stop(self, reason: str) -> None: ...
    def save(self) -> None: ...
    def set_learning_rate(self, value: float) -> None: ...


@dataclass
class TrainingHubControl:
    """Flags that a hook may set, as `context.control`; what they ask for is done once the hook returns.

    `context.save()` and `context.stop()` do the same, at once and with a reason.

    Attributes:
        should_save: Save a checkpoint after the step at hand.
        should_training_stop: End training after the step at hand, with a checkpoint to resume from.
    """

    should_save: bool = False
    should_training_stop: bool = False


@dataclass
class TrainingHubContext:
    """What a callback is told: the state of the run, the same on every backend.

    Attributes:
        step: Optimizer steps done.
        epoch: Passes over the data done, with its fraction.
        loss: Loss of the last logged step in nats a trained token.
        learning_rate: Learning rate of the last logged step.
        is_main_process: Whether this is rank 0, as always in the caller's process.
        rank: Of this process among those that train; 0 in the caller's process.
        world_size: How many processes train, on all nodes.
        model: The model as it is trained, wrapped or sharded as the framework does that; None in the caller's process.
        tokenizer: The model's; None in the caller's process.
        output_dir: The run's `ckpt_output_dir`.
        metrics: All figures of the event, by name.
        max_steps: Steps of the whole run, where known.
        tokens_seen: Tokens trained on so far, by all processes.
        checkpoint: The newest complete checkpoint.
        run_dir: The run's directory.
        control: Flags by which a hook may ask for a checkpoint or the end.
    """

    step: int = 0
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    is_main_process: bool = True
    output_dir: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    tokens_seen: int = 0
    checkpoint: Path | None = None
    run_dir: Path | None = None
    rank: int = 0
    world_size: int = 1
    model: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)
    control: TrainingHubControl = field(default_factory=TrainingHubControl, repr=False)
    run_control: RunControl | None = field(default=None, repr=False)
    can: frozenset[str] = field(default=frozenset(), repr=False)
    backend: str = field(default="", repr=False)
    emit: Callable[..., None] | None = field(default=None, repr=False)
    """Adds an event to the run's stream, for every reader to see."""

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End training after the step at hand, on all ranks, with a checkpoint to resume from.

        Raises:
            CallbackError: The backend cannot be stopped.
        """
        self._control("stop").stop(reason)

    def save(self) -> None:
        """Save a checkpoint after the step at hand.

        Raises:
            CallbackError: The backend cannot be asked for one.
        """
        self._control("save").save()

    def set_learning_rate(self, value: float) -> None:
        """Train with this learning rate from the next step on; the schedule goes on from there in proportion.

        Raises:
            CallbackError: The backend cannot change it, or it is not positive.
        """
        from training_hub.errors import CallbackError

        control = self._control("set_learning_rate")
        if not 0 < value < float("inf"):
            raise CallbackError(f"set_learning_rate({value!r}): expected a number above 0")
        control.set_learning_rate(value)

    def _control(self, what: str) -> RunControl:
        from training_hub.errors import CallbackError

        if self.run_control is None or what not in self.can:
            able = ", ".join(sorted(self.can)) or "nothing"
            raise CallbackError(f"{what}(): the {self.backend} backend cannot do that while it trains; it can: {able}")
        return self.run_control

    def obey_flags(self) -> None:
        """Ask for what the flags of `control` ask for, and clear them.

        Raises:
            CallbackError: The backend cannot do it.
        """
        save, stop = self.control.should_save, self.control.should_training_stop
        self.control.should_save = self.control.should_training_stop = False
        if save:
            self.save()
        if stop:
            self.stop()


class TrainingHubCallback:
    """Base class of callbacks; override the methods you need, the others do nothing."""

    run_on_all_ranks: ClassVar[bool] = False
    """Whether every process that trains gets a copy of its own, with `context.model`, in place of the caller's one.

    The class is imported there by its module and name, and gets the object's attributes, which must be plain data."""

    def on_train_begin(self, context: TrainingHubContext) -> None:
        """Called before the first step."""

    def on_epoch_begin(self, context: TrainingHubContext) -> None:
        """Called at the start of each epoch."""

    def on_step_begin(self, context: TrainingHubContext) -> None:
        """Called before each optimizer step's `on_step_end`, with the state before the step."""

    def on_step_end(self, context: TrainingHubContext) -> None:
        """Called after each optimizer step."""

    def on_log(self, context: TrainingHubContext) -> None:
        """Called when a step's figures are logged."""

    def on_evaluate(self, context: TrainingHubContext) -> None:
        """Called after a validation; `metrics["validation_loss"]` has its loss."""

    def on_save(self, context: TrainingHubContext) -> None:
        """Called after a checkpoint is complete; `checkpoint` is its directory."""

    def on_epoch_end(self, context: TrainingHubContext) -> None:
        """Called at the end of each epoch."""

    def on_train_end(self, context: TrainingHubContext) -> None:
        """Called after the last step, also of a run that was stopped; not of one that failed."""
