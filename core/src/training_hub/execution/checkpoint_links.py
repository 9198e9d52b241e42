"""Links by which scripts written for the older package find what a run saves, where that one put it; nothing is copied.

Of `sft` and `osft` these are `hf_format/samples_N`, N rows into the run; of `lora_sft` the adapter's files lie in the
output directory itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from training_hub.store.directory import LINKED, RunDirectory
from training_hub.store.events import Event, EventLog, number, whole

_NAMES: Mapping[str, str] = {"sft": "samples_{}", "osft": "samples_{}.0"}
ADAPTER = "lora_sft"


class CheckpointLinks:
    """Makes links as checkpoints are saved, and removes those whose checkpoint is gone."""

    def __init__(self, algorithm: str, directory: RunDirectory, events: EventLog) -> None:
        """Args:
        algorithm: Of the run.
        directory: The run's.
        events: Takes the warning where the file system has no links.
        """
        self._algorithm = algorithm
        self._directory = directory
        self._events = events
        self._rows = 0
        self._samples: dict[int, int] = {}
        """Rows trained on, by step: of the last ones, a checkpoint may be told a little later."""
        self._failed = False

    def receive(self, event: Event) -> None:
        """Take an event; never fails."""
        if self._failed or (self._algorithm not in _NAMES and self._algorithm != ADAPTER):
            return
        try:
            self._heed(event)
        except OSError as error:
            self._failed = True
            said = f"links to checkpoints, where older scripts look for them, cannot be made: {error.strerror}"
            with suppress(OSError):
                self._events.emit("warning", message=said)

    def _heed(self, event: Event) -> None:
        kind, step = event["event"], whole(event, "step")
        if kind == "start":
            self._rows = whole(event, "rows") or 0
            self._remove_dead()
        elif kind == "step" and step is not None:
            self._samples[step] = round((number(event, "epoch") or 0.0) * self._rows)
            self._samples.pop(step - 100, None)
        elif kind == "save" and step is not None:
            self._link(Path(event["checkpoint"]), step)
        elif kind == "end":
            self._remove_dead()

    def _link(self, saved: Path, step: int) -> None:
        directory = self._directory.path
        final = saved.name == self._directory.final.name
        if not (final or saved.name.startswith("checkpoint-")) or not (directory / saved.name).is_dir():
            return
        if self._algorithm == ADAPTER:
            for file in sorted((directory / saved.name).iterdir()) if final else ():
                _make(directory / file.name, Path(saved.name, file.name))
        elif (samples := self._samples.get(step)) is not None:
            (directory / LINKED).mkdir(exist_ok=True)
            _make(directory / LINKED / _NAMES[self._algorithm].format(samples), Path("..", saved.name))
        self._remove_dead()

    def _remove_dead(self) -> None:
        for link in self._directory.links():
            if not link.exists():
                link.unlink()


def _make(link: Path, target: Path) -> None:
    """Make a link, in the place of an older one; what else is there stays."""
    if link.exists() and not link.is_symlink():
        return
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(target)
    partial.replace(link)
