"""Lines of the `training_hub` logger, made visible in a process that has not set up logging."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

logger = logging.getLogger("training_hub")


class LineHandler(logging.StreamHandler[TextIO]):
    """Prints to whatever sys.stderr is at the moment, and lets no failure of it through."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_Plain())

    def emit(self, record: logging.LogRecord) -> None:
        # A progress bar puts its own stderr in place, so that lines are printed above it.
        if sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A closed terminal ends no run."""


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


@contextmanager
def visible() -> Iterator[None]:
    """While the block runs, print the logger's lines at INFO, unless the process has set up logging itself."""
    if logger.handlers or logging.getLogger().handlers:
        yield
        return
    handler, level = LineHandler(), logger.level
    logger.addHandler(handler)
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
