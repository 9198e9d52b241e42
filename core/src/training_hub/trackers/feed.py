"""Feeds one tracker from a queue and a thread of its own, so that a slow one keeps nobody waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training_hub.reading.log_lines import logger
from training_hub.store.directory import read_json, write_json
from training_hub.store.events import Event
from training_hub.store.redaction import without_credentials
from training_hub.trackers.config import TrackerConfig
from training_hub.trackers.tracker import Tracker, TrackerOutcome

LIMIT = 20_000
"""Most events that wait for a tracker; later ones are left out."""
AT_ONCE = 200
"""Most events that a tracker is given at once."""
_BEGINNINGS = ("start", "step", "eval")
"""With the first of these a run is worth tracking; before it, a mistake of the user's may still show."""


class Feed:
    """One tracker of one run."""

    def __init__(
        self, config: TrackerConfig, manifest: Mapping[str, Any], memory: Path, warn: Callable[[str], None]
    ) -> None:
        """Nothing is started before the first event that matters.

        Args:
            config: The tracker.
            manifest: What runs.
            memory: Where to keep, for a resumed run, the place of this one.
            warn: Takes a line for the user, from any thread.
        """
        self.title = config.tracker.title
        self._config = config
        self._manifest = manifest
        self._memory = memory
        self._warn = warn
        self._events: deque[Event] = deque()
        self._outcome: TrackerOutcome | None = None
        self._left_out = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"training-hub-{config.tracker.name}", daemon=True)
        self._started = self._gone = False

    def receive(self, event: Event) -> None:
        """Take note of an event; never waits."""
        if self._gone or not (self._started or event.get("event") in _BEGINNINGS):
            return
        with self._changed:
            if len(self._events) >= LIMIT:
                self._left_out += 1
                return
            self._events.append(event)
            self._changed.notify()
        self._start()

    def end(self, outcome: TrackerOutcome) -> None:
        """Say how the run ended; does not wait either."""
        if self._gone:
            return
        with self._changed:
            self._outcome = outcome
            self._changed.notify()
        self._start()

    def abandon(self) -> None:
        """Forget a run that never began."""
        self._gone = True

    def has_ended(self, seconds: float) -> bool:
        """Wait until the tracker has everything, or for so long."""
        if self._started:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def started(self) -> bool:
        return self._started

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._thread.start()

    def _work(self) -> None:
        try:
            tracker = self._begin()
            while True:
                events, outcome = self._next()
                if events:
                    tracker.receive(events)
                if outcome:
                    tracker.end(outcome)
                    break
        except BaseException as error:  # a tracking system that calls sys.exit ends no run either
            self._gone = True
            self._events.clear()
            said = without_credentials(f"{type(error).__name__}: {error}").strip().splitlines()[0]
            self._warn(f"{self.title} has failed, and this run is no longer tracked there: {said}")
        else:
            if self._left_out:
                self._warn(f"{self.title} was too slow: {self._left_out} events are missing there")

    def _begin(self) -> Tracker:
        tracker = self._config.tracker(self._config.settings)
        tracker.warn = self._warn
        to = self._config.says.partition("=")[2]
        earlier = _remembered(self._memory)
        place = tracker.begin(self._manifest, earlier.get("id") if earlier.get("to") == to else None)
        write_json(self._memory, {"to": to, "id": place.id, "where": place.where})
        logger.info("tracked by %s: %s", self.title, without_credentials(place.where))
        return tracker

    def _next(self) -> tuple[list[Event], TrackerOutcome | None]:
        with self._changed:
            while not self._events and self._outcome is None:
                self._changed.wait()
            events = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
            return events, None if self._events else self._outcome


def _remembered(path: Path) -> dict[str, Any]:
    """What an earlier part of the same run left."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
