"""All trackers of a run: each gets every event, and none of them can stop or slow the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from training_hub.errors import TrainingHubError, UserError
from training_hub.reading.log_lines import logger, visible
from training_hub.reading.report import write_report
from training_hub.store.directory import RunDirectory
from training_hub.store.events import Event, EventLog
from training_hub.store.redaction import without_credentials
from training_hub.trackers.config import Kinds, configured
from training_hub.trackers.feed import Feed
from training_hub.trackers.tracker import TrackerOutcome

GRACE_SECONDS = 30.0
"""How long the end of a run waits for its trackers, all together."""


class Trackers:
    """The trackers of a run; also where there are none."""

    def __init__(
        self,
        kinds: Kinds,
        parameters: Mapping[str, Any],
        manifest: Mapping[str, Any],
        directory: RunDirectory,
        events: EventLog,
    ) -> None:
        """Find out which there are.

        Args:
            kinds: All trackers that there are.
            parameters: The run's.
            manifest: What runs, as `run.json` has it.
            directory: The run's.
            events: Takes warnings.
        """
        self._events = events
        self._directory = directory
        self._ending = False
        self._feeds: list[Feed] = []
        for each in configured(kinds, parameters):
            # Where a parameter asks, the request was checked; here somebody has set a variable for all their work.
            if not each.by_parameter and each.problem:
                self._warn(f"{each.says} is set, and this run is not tracked there: {each.problem}")
            else:
                memory = directory.logs / f"tracker-{each.tracker.name}.json"
                self._feeds.append(Feed(each, manifest, memory, self._warn))

    def receive(self, event: Event) -> None:
        """Hand an event to each; never waits, never fails."""
        for feed in self._feeds:
            with suppress(Exception):
                feed.receive(event)

    def end(
        self,
        state: str,
        metrics: Mapping[str, Any] | None = None,
        *,
        error: BaseException | None = None,
    ) -> None:
        """Tell each how the run ended, and give them some time for what is left.

        Args:
            state: `completed`, `stopped`, `interrupted` or `failed`.
            metrics: The final figures.
            error: What ended the run.
        """
        self._ending = True
        if not self._feeds:
            return
        outcome = TrackerOutcome(state, without_credentials(str(error or "")), metrics or {}, self._artifacts())
        with visible():
            for feed in self._feeds:
                if isinstance(error, UserError) and not feed.started:
                    feed.abandon()
                else:
                    feed.end(outcome)
            deadline = time.monotonic() + GRACE_SECONDS
            for feed in self._feeds:
                if not feed.has_ended(max(0.0, deadline - time.monotonic())):
                    self._warn(
                        f"{feed.title} has not taken everything within {GRACE_SECONDS:.0f} seconds of the end; "
                        f"what is missing there is in {self._events.path}"
                    )

    def _artifacts(self) -> list[Path]:
        """Files to keep with the run: the manifest, and the report."""
        found = [self._directory.manifest]
        with suppress(TrainingHubError, OSError):
            found.append(write_report(self._directory.path))
        return found

    def _warn(self, message: str) -> None:
        with suppress(OSError):
            self._events.emit("warning", message=message)
        # While the run goes on its events are shown; at its end nobody follows them any more.
        if self._ending:
            logger.warning("%s", message)
