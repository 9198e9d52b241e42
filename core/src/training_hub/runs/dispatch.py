"""Calls the user's callbacks as events come, in a thread of their own."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from training_hub.callbacks import TrainingHubCallback, TrainingHubContext
from training_hub.errors import CallbackError
from training_hub.runs.control import Control
from training_hub.runs.events import Event
from training_hub.runs.figures import number, whole

logger = logging.getLogger("training_hub")

QUEUE = 256
"""Events that callbacks may be behind before training waits for them."""


class Dispatcher:
    """Hands events to callbacks, in order, none left out. `receive` never blocks."""

    def __init__(
        self, callbacks: Sequence[TrainingHubCallback], context: TrainingHubContext, control: Control, errors: str
    ) -> None:
        """Args:
        callbacks: Called one after the other.
        context: What the run has from the start: its directories, and what may be asked of it.
        control: To stop the run, and to let it wait.
        errors: `stop` or `warn`: what a callback that raises does to the run.
        """
        self.callbacks = callbacks
        self.context = context
        self.control = control
        self.errors = errors
        self.error: CallbackError | None = None
        """What a callback raised, where that ended the run."""
        self._epoch_begun = False
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="training-hub-callbacks", daemon=True)

    def __enter__(self) -> Dispatcher:
        if self.callbacks:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until every event has been handed over."""
        if self.callbacks:
            self._events.put(None)
            self._thread.join()

    def receive(self, event: Event) -> None:
        """Take an event."""
        if self.callbacks:
            self._events.put(event)
            self.control.hold(self._events.qsize() > QUEUE)

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            self._hand_over(event)
            self.control.hold(self._events.qsize() > QUEUE)

    def _hand_over(self, event: Event) -> None:
        match event["event"]:
            case "start":
                reached = whole(event, "resumed_from") or 0
                self.context = replace(
                    self.context, step=reached, max_steps=whole(event, "max_steps"), metrics=_figures(event)
                )
                self._call("on_train_begin")
            case "step":
                self._step(event)
            case "eval":
                self.context = replace(self.context, metrics=_figures(event))
                self._call("on_evaluate")
            case "save":
                self.context = replace(self.context, checkpoint=Path(str(event["checkpoint"])), metrics={})
                self._call("on_save")
            case "epoch":
                self.context = replace(self.context, epoch=number(event, "epoch") or self.context.epoch, metrics={})
                self._call("on_epoch_end")
                self._epoch_begun = False
            case "end":
                self.context = replace(self.context, metrics=dict(event.get("metrics") or {}))
                self._call("on_train_end")

    def _step(self, event: Event) -> None:
        if not self._epoch_begun:
            self._epoch_begun = True
            self._call("on_epoch_begin")
        self._call("on_step_begin")
        known = {
            name: value for name in ("loss", "learning_rate", "epoch") if (value := number(event, name)) is not None
        }
        self.context = replace(
            self.context,
            step=whole(event, "step") or self.context.step,
            max_steps=whole(event, "max_steps") or self.context.max_steps,
            tokens_seen=whole(event, "tokens") or self.context.tokens_seen,
            metrics=_figures(event),
            **known,  # type: ignore[arg-type]
        )
        self._call("on_step_end")
        if "loss" in event:
            self._call("on_log")

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            # One that has ended the run is told nothing more, as little as the others.
            if self.error is not None:
                return
            try:
                getattr(callback, hook)(self.context)
            except Exception as error:
                self._failed(callback, hook, error)

    def _failed(self, callback: TrainingHubCallback, hook: str, error: Exception) -> None:
        said = f"{type(callback).__name__}.{hook} raised {type(error).__name__}: {error}"
        if self.errors == "warn":
            logger.warning("%s; the run goes on (callback_errors='warn')", said, exc_info=error)
            return
        self.error = CallbackError(said)
        self.error.__cause__ = error
        with contextlib.suppress(OSError):
            self.control.stop(said)


def _figures(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("event", "time", "framework", "schema")}
