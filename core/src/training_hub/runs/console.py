"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
from types import TracebackType

from training_hub.runs.events import Event

logger = logging.getLogger("training_hub")


class Console:
    """Shows events as they come."""

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def receive(self, event: Event) -> None:
        logger.info("%s", event)
