"""How the hub's part of training comes into mini-trainer's loop."""

from __future__ import annotations

import contextlib
from typing import Any

from mini_trainer import train as framework

from training_hub_minitrainer.loop import Loop, Stopped


def take_part_in(loop: Loop) -> None:
    """Have the framework's loop call the hub's, in the thread that trains and on every rank. For 0.9.

    Its own CallbackManager calls from a thread beside the loop, where nothing can be saved or stopped, and lets errors
    go. The loop takes another manager as an argument, but `main` makes that one; and what the loop knows of the saves
    and validations so far, which belongs into a state to resume from, it keeps to itself.
    """
    real = framework.train

    class Checkpointer(framework.Checkpointer):  # type: ignore[misc]  # it has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            loop.checkpointer = self

    class ValidationScheduler(framework.ValidationScheduler):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            loop.validation_scheduler = self

    def train(**given: Any) -> None:
        loop.begin(given)
        with contextlib.suppress(Stopped):
            real(**given | {"data_loader": loop.data_loader, "callback_manager": loop})
        # The processes part right after this.
        loop.end()

    framework.Checkpointer = Checkpointer
    framework.ValidationScheduler = ValidationScheduler
    framework.train = train
