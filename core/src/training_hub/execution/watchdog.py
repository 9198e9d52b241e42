"""When the processes of a run are to be ended: they do not stop in time, or nothing is heard of them."""

from __future__ import annotations

import time

from training_hub.store.control import Control
from training_hub.store.events import Event


class Watchdog:
    """Counts the seconds since a run was asked to stop, and since its processes were last heard of."""

    def __init__(self, control: Control, grace: float, hang: float | None) -> None:
        self.control = control
        self.grace = grace
        self.hang = hang
        self._asked_at: float | None = None
        self._heard_at: float | None = None

    def heard(self, event: Event) -> None:
        """An event has come from the processes; from `start` on they owe one now and then."""
        if event["event"] == "start" or self._heard_at is not None:
            self._heard_at = time.monotonic()

    def check(self) -> None:
        """Called now and then by whoever waits for the processes.

        Raises:
            TimeoutError: They are to be ended; the message says why.
        """
        now = time.monotonic()
        if self.control.stop_asked and self._asked_at is None:
            self._asked_at = now
        if self._asked_at is not None and now - self._asked_at > self.grace:
            raise TimeoutError(
                f"asked to stop ({self.control.stop_asked}), the processes did not save and end within "
                f"grace_seconds={self.grace:g}"
            )
        if self.hang is not None and self._heard_at is not None and now - self._heard_at > self.hang:
            raise TimeoutError(f"nothing was heard of the processes for hang_seconds={self.hang:g}: one of them hangs")
