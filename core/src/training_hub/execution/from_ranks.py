"""What callbacks on the ranks ask for, and what they raise, as it reaches the caller's process: by events."""

from __future__ import annotations

import contextlib

from training_hub.execution.callback_failures import CallbackFailures
from training_hub.store.control import Control
from training_hub.store.events import Event


class RaisedOnRankError(Exception):
    """What a callback raised in another process: the text is that process' traceback."""


class FromRanks:
    """Passes on what callbacks on the ranks ask for; the run obeys it as if it had been asked here."""

    def __init__(self, control: Control, failures: CallbackFailures) -> None:
        self.control = control
        self.failures = failures

    def receive(self, event: Event) -> None:
        """Take an event."""
        with contextlib.suppress(OSError):
            match event:
                case {"event": "ask", "what": "stop", "reason": str(reason)}:
                    self.control.stop(reason)
                case {"event": "ask", "what": "save"}:
                    self.control.save()
                case {"event": "ask", "what": "set_learning_rate", "value": int() | float() as value}:
                    self.control.set_learning_rate(value)
                case {
                    "event": "callback_error",
                    "callback": callback,
                    "hook": hook,
                    "error": error,
                    "message": message,
                    "rank": rank,
                    "traceback": text,
                }:
                    said = f"{callback}.{hook} raised {error} on rank {rank}: {message}"
                    self.failures.take(said, RaisedOnRankError(f"\n{text}"))
