"""Signals while a run trains: the first asks it to save and end, a second one ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from training_hub.runs.control import Control
from training_hub.runs.events import Event

logger = logging.getLogger("training_hub")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """While the block runs, SIGTERM and SIGINT ask it to stop. Only the main thread can see to that."""

    def __init__(self, control: Control, can_stop: bool) -> None:
        self.control = control
        self.can_stop = can_stop
        self.signal: signal.Signals | None = None
        """The signal that came first."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._asked) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # A handler that was not set by Python cannot be put back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal, self.signal or signal.Signals(number)
        if again or not self.can_stop:
            raise Ended(signal.Signals(number))
        self.control.stop(self.signal.name)
        logger.info("%s: saving a checkpoint and ending; once more ends at once", self.signal.name)


class Ended(KeyboardInterrupt):
    """The run is to end at once, whatever it does."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"ended by {number.name}")
        self.number = number


class Patience:
    """When the processes of a run are to be ended: they do not stop in time, or nothing is heard of them."""

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
