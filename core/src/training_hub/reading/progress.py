"""A progress bar by rich. Lines that are logged while it is shown are printed above it."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from training_hub.reading.figures import figures, step_text
from training_hub.reading.log_lines import LineHandler, logger
from training_hub.store.events import Event, whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_REDRAWN_A_SECOND = 4


def bar_for_terminal() -> Bar | None:
    """A bar on stderr, or on stdout where only that is a terminal; None where neither is one."""
    from rich.console import Console

    if (console := Console()).is_jupyter:
        return Bar(console)
    for stream in (sys.stderr, sys.stdout):
        if stream is not None and not stream.closed and stream.isatty():
            console = Console(stderr=stream is sys.stderr)
            return None if console.is_dumb_terminal else Bar(console)
    return None


class Bar:
    """Shows steps on one line that is drawn again and again."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
            TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            refresh_per_second=_REDRAWN_A_SECOND,
        )
        self._task = self._progress.add_task("starting", total=None, figures="")
        self._redirected: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def __enter__(self) -> Bar:
        self._progress.start()
        # While it is shown rich replaces stdout and stderr; handlers that hold the old ones would write into the bar.
        for handler in _terminal_handlers():
            self._redirected.append((handler, handler.stream))
            handler.setStream(sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handler, stream in self._redirected:
            with suppress(Exception):
                handler.setStream(stream)
        self._progress.stop()

    def expect(self, event: Event) -> None:
        """Take the number of steps from the start of a run."""
        if most := whole(event, "max_steps"):
            self._progress.update(self._task, total=most, description=f"step 0/{most}")

    def step(self, event: Event, seconds_left: float | None) -> None:
        self._progress.update(
            self._task,
            total=whole(event, "max_steps"),
            completed=whole(event, "step"),
            description=step_text(event),
            figures="  ".join(figures(event, seconds_left)),
        )


def _terminal_handlers() -> list[logging.StreamHandler[TextIO]]:
    handlers = [*logger.handlers, *(logging.getLogger().handlers if logger.propagate else ())]
    return [
        handler
        for handler in handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler | LineHandler)
        and handler.stream in (sys.__stderr__, sys.__stdout__)
        and handler.stream.isatty()
    ]
