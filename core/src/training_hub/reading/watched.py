"""A run as somebody watches it from outside: what its files tell, looked at again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from training_hub.errors import RunFormatError
from training_hub.reading import record
from training_hub.reading.figures import Pace
from training_hub.reading.history import History
from training_hub.reading.record import RunRecord, directory_of, manifest_of
from training_hub.store.events import Event, Tail
from training_hub.store.manifest import Manifest

PATIENCE = 5.0
"""Seconds to wait for the manifest to agree, once the events have told the end."""


class Watched:
    """Reads what is new at every look. Another run that takes the place of this one is followed from then on."""

    def __init__(self, path: Path) -> None:
        self.directory = directory_of(path)
        self.manifest, self.damage = Manifest({}), ""
        self.last_step: Event = {}
        self.seconds_left: float | None = None
        self._tail = Tail(self.directory.events)
        self._begin()

    def _begin(self) -> None:
        self.history = History()
        self._pace = Pace()
        self._news = time.monotonic()
        self._looked = self._heard = False

    @property
    def record(self) -> RunRecord:
        return RunRecord(self.directory, self.manifest, self.history, self.damage)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        if (state := self.manifest.text("state")) not in (None, "running") or self.record.state == "killed":
            return True
        return self.history.ended and (state is None or time.monotonic() - self._news > PATIENCE)

    @property
    def silence(self) -> str | None:
        """What to say of a run under way that tells nothing.

        Before the first news only the times of its files can be judged. From then on this machine's own clock counts:
        the disk's may be another machine's, and be wrong.
        """
        if self.ended:
            return None
        waited = time.monotonic() - self._news
        if not self._heard and (since := self.record.silent_since) is not None:
            return record.silence_text(since, max(waited, time.time() - since))
        return record.silence_text(time.time() - waited, waited) if waited > record.QUIET else None

    def look(self, receive: Callable[[Event], None] = lambda event: None) -> None:
        """Read what is new, and hand each new event on.

        Raises:
            RunFormatError: A newer version wrote the run.
        """
        # The manifest tells the end after the events have: read before them, it never hides the last of them.
        self.manifest, self.damage = manifest_of(self.directory)
        if self._tail.replaced():
            self._begin()
        self.history.keep(figure.name for figure in self.manifest.own_figures)
        first, self._looked = not self._looked, True
        try:
            for event in self._tail.new():
                self.history.receive(event)
                self._news, self._heard = time.monotonic(), not first
                if event["event"] == "step":
                    self.last_step, self.seconds_left = event, self._pace.seconds_left(event)
                receive(event)
        except RunFormatError as error:
            raise RunFormatError(f"{self.directory.path}: {error}") from error
