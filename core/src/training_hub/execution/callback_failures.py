"""What a callback that raised does to the run."""

from __future__ import annotations

import contextlib
import logging

from training_hub.errors import CallbackError
from training_hub.store.control import Control

logger = logging.getLogger("training_hub")


class CallbackFailures:
    """Stops the run with a checkpoint, or warns, as `callback_errors` says; for callbacks wherever they run."""

    def __init__(self, control: Control, errors: str) -> None:
        """Args:
        control: To stop the run.
        errors: `stop` or `warn`.
        """
        self.control = control
        self.errors = errors
        self.error: CallbackError | None = None
        """What ended the run: the first error, where errors do that."""

    def take(self, said: str, cause: BaseException) -> None:
        """Take an error.

        Args:
            said: Which callback raised what, and where.
            cause: What it raised.
        """
        if self.errors == "warn":
            logger.warning("%s; the run goes on (callback_errors='warn')", said, exc_info=cause)
        elif self.error is None:
            self.error = CallbackError(said)
            self.error.__cause__ = cause
            with contextlib.suppress(OSError):
                self.control.stop(said)
