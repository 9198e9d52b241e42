"""Signals while a run trains: the first asks it to save and end, a second one ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from training_hub.store.control import Control

logger = logging.getLogger("training_hub")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalHandler:
    """While the block runs, SIGTERM and SIGINT ask it to stop. Only the main thread can see to that."""

    def __init__(self, control: Control, can_stop: bool) -> None:
        self.control = control
        self.can_stop = can_stop
        self.signal: signal.Signals | None = None
        """The signal that came first."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalHandler:
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
