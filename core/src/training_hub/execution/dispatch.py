"""Calls the user's callbacks as events come, in a thread of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from types import TracebackType

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.callbacks.handler import CallbackHandler
from training_hub.execution.callback_failures import CallbackFailures
from training_hub.store.control import Control
from training_hub.store.events import Event

QUEUE = 256
"""Events that callbacks may be behind before training waits for them."""


class Dispatcher:
    """Hands events to callbacks, in order, none left out. `receive` never blocks."""

    def __init__(
        self,
        callbacks: Sequence[TrainingHubCallback],
        context: TrainingHubContext,
        control: Control,
        failures: CallbackFailures,
    ) -> None:
        """Args:
        callbacks: Called one after the other.
        context: What the run has from the start: its directories, and what may be asked of it.
        control: To let the run wait.
        failures: Takes what a callback raises.
        """
        self.callbacks = callbacks
        self.control = control
        self.failures = failures
        self._hooks = CallbackHandler(callbacks, context, self._failed)
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
            self._hooks.tell(event)
            self.control.hold(self._events.qsize() > QUEUE)

    def _failed(self, callback: TrainingHubCallback, hook: str, error: Exception) -> None:
        self.failures.take(f"{type(callback).__name__}.{hook} raised {type(error).__name__}: {error}", error)
        # One that has ended the run is told nothing more, as little as the others.
        self._hooks.over = self.failures.error is not None
