"""Signals while a run trains: the first asks it to save and end, a second one ends it at once."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol

from training_hub.store.result import TrainingResult

logger = logging.getLogger("training_hub")

PATIENCE = 5.0
"""Seconds in which the main thread must hear that the run is to end at once."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CanStop(Protocol):
    """What can be asked to stop."""

    def stop(self, reason: str) -> None:
        """Let the run save and end."""


class SignalHandler:
    """While the block runs, SIGTERM and SIGINT ask it to stop. Only the main thread can see to that.

    Python hears of a signal once its main thread is back from whatever library it has called. Where that waits, for
    another process say, a thread ends this one instead.
    """

    def __init__(
        self, control: CanStop, can_stop: bool, last_words: Callable[[Ended], object] = lambda end: None
    ) -> None:
        """Args:
        control: Of the run.
        can_stop: Whether it can be asked to stop.
        last_words: Called before this process is ended although its main thread does not come back.
        """
        self.control = control
        self.can_stop = can_stop
        self.signal: signal.Signals | None = None
        """The signal that came first."""
        self._last_words = last_words
        self._before: dict[signal.Signals, Any] = {}
        self._came = 0
        # No Event: what takes a lock must not be called where a signal may come again.
        self._ending = False
        self._writes = self._wrote_to = -1

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._asked) for number in _SIGNALS}
            reads, self._writes = os.pipe()
            os.set_blocking(self._writes, False)
            self._wrote_to = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reads,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # A handler that was not set by Python cannot be put back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if self._writes >= 0:
            signal.set_wakeup_fd(self._wrote_to)
            os.close(self._writes)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal, self.signal or signal.Signals(number)
        # Of several that came while a library was at work Python tells once.
        if again or self._came > 1 or not self.can_stop:
            self._ending = True
            raise Ended(signal.Signals(number))
        self.control.stop(self.signal.name)
        logger.info("%s: saving a checkpoint and ending; once more ends at once", self.signal.name)

    def _watch(self, reads: int) -> None:
        """Read the signals as they come, until the block is left, and see to it that the last one ends the run."""
        with os.fdopen(reads, "rb", buffering=0) as stream:
            while came := stream.read(1):
                if self._wrote_to >= 0:
                    with suppress(OSError):
                        os.write(self._wrote_to, came)
                if came[0] not in _SIGNALS:
                    continue
                self._came += 1
                if self._came > 1 or not self.can_stop:
                    self._see_to_the_end(signal.Signals(came[0]))

    def _see_to_the_end(self, number: signal.Signals) -> None:
        # The first of two that came at once may have been heard for both.
        if self._ends_within(PATIENCE / 10):
            return
        _thread.interrupt_main(number)
        if not self._ends_within(PATIENCE):
            self._last_words(Ended(number))
            os._exit(128 + number)

    def _ends_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._ending and time.monotonic() < until:
            time.sleep(0.02)
        return self._ending


class Terminated(SystemExit):
    """SIGTERM came while a run trained, which then saved and ended: the process is to end as well."""

    def __init__(self, result: TrainingResult) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.result = result
        """What came of the run, which its call does not return."""


class Ended(KeyboardInterrupt):
    """The run is to end at once, whatever it does."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"ended by {number.name}")
        self.number = number


def ended(error: BaseException) -> BaseException:
    """The end by a signal, where that is what an error came of: raised anywhere, it may break what it breaks into."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, Ended):
        found = found.__context__
    return found or error
