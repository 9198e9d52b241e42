"""What a person sees of a run: a progress bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType

from training_hub.reading.figures import Pace, describe, figures, step_text
from training_hub.reading.log_lines import logger, visible
from training_hub.reading.progress import Bar, bar_for_terminal
from training_hub.store.events import Event, moment, whole
from training_hub.store.figure import Figure

SHARE = 0.05
"""A plain line is due after this share of the steps..."""
SILENCE = 60.0
"""... or after so many seconds, whichever comes first, ..."""
GAP = 1.0
"""... but never sooner than this many seconds after the last one."""


class Console:
    """Shows events as they come, from any thread. Nothing that goes wrong here reaches the run."""

    def __init__(self, own: Sequence[Figure] = ()) -> None:
        """Args:
        own: What the algorithm says of figures.
        """
        self._own = tuple(own)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._open = False
        self._bar: Bar | None = None
        self._pace = Pace()
        self._lines = _Lines(self._own)

    def __enter__(self) -> Console:
        with self._lock, suppress(Exception):
            self._stack.enter_context(visible())
            self._open = True
            if not _told_to_be_quiet() and (bar := bar_for_terminal()):
                self._bar = self._stack.enter_context(bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._open = False
            with suppress(Exception):
                self._lines.end()
            with suppress(Exception):
                self._stack.close()

    def receive(self, event: Event) -> None:
        """Show an event."""
        with self._lock, suppress(Exception):
            if self._open:
                self._show(event)

    def _show(self, event: Event) -> None:
        if event.get("event") == "step":
            left = self._pace.seconds_left(event)
            if self._bar:
                self._bar.step(event, left)
            else:
                self._lines.step(event, left)
        elif text := describe(event, self._own):
            logger.log(logging.WARNING if event.get("event") in ("warning", "fail") else logging.INFO, "%s", text)
            if self._bar and event.get("event") == "start":
                self._bar.expect(event)


class _Lines:
    """Steps as lines, not too many of them: always the first and the last."""

    def __init__(self, own: Sequence[Figure]) -> None:
        self._own = own
        self._shown: Event | None = None
        self._due: tuple[Event, float | None] | None = None

    def step(self, event: Event, seconds_left: float | None) -> None:
        self._due = (event, seconds_left)
        if self._shown is None or self._is_time(event, self._shown):
            self._write()

    def end(self) -> None:
        """The last step is shown, whatever came before."""
        if self._due:
            self._write()

    def _is_time(self, event: Event, shown: Event) -> bool:
        step, before, most = whole(event, "step"), whole(shown, "step"), whole(event, "max_steps")
        if most and step is not None and step >= most:
            return True
        waited = moment(event) - moment(shown)
        if waited < GAP:
            return False
        far = bool(most) and step is not None and before is not None and step - before >= SHARE * (most or 0)
        return far or waited >= SILENCE

    def _write(self) -> None:
        if self._due:
            event, left = self._due
            self._shown, self._due = event, None
            logger.info("%s", "  ".join([step_text(event), *figures(event, left, self._own)]))


def _told_to_be_quiet() -> bool:
    """Whether somebody has set the logger above INFO; a level of the root speaks of other people's lines too."""
    return logger.level > logging.INFO or logging.root.manager.disable >= logging.INFO
