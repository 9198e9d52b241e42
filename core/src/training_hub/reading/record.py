"""A run as a reader has it: what `run.json` says, and what its events come to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_hub.errors import RunFormatError, RunNotFoundError
from training_hub.reading.figures import duration_text
from training_hub.reading.history import History
from training_hub.store.directory import RunDirectory
from training_hub.store.events import Event, Tail, read_events
from training_hub.store.lock import left_behind
from training_hub.store.manifest import DamagedManifestError, Manifest, read_manifest

QUIET = 120.0
"""Seconds without an event after which a run that should be under way is said to be silent."""


STATE_COLOURS = {
    "completed": "green",
    "running": "cyan",
    "stopped": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "killed": "red",
}
"""For a terminal."""


@dataclass(frozen=True)
class RunRecord:
    """A run: where it is, what ran, what happened."""

    directory: RunDirectory
    manifest: Manifest
    history: History
    damage: str = ""
    """What is wrong with its manifest, where that cannot be understood."""

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def name(self) -> str:
        """Short, for legends: the last part of the path."""
        return self.path.name or self.path.resolve().name

    @property
    def algorithm(self) -> str | None:
        return self._said("algorithm")

    @property
    def backend(self) -> str | None:
        return self._said("backend")

    @property
    def start(self) -> float | None:
        return self.manifest.time("start") or self.history.first_time

    @property
    def state(self) -> str:
        """`running`, `completed`, `stopped`, `failed`, `interrupted`, `killed`, or `unknown`."""
        said = self.manifest.text("state") or _told_state(self.history)
        return "killed" if said == "running" and left_behind(self.path) else said

    @property
    def cause(self) -> str | None:
        """Why it failed."""
        told = self.history.ending("fail")
        return self.manifest.text("cause") or (str(told.get("message", "")) if told else None)

    @property
    def silent_since(self) -> float | None:
        """For a run that should be under way and has told nothing for a while: when it last did."""
        if self.state != "running":
            return None
        return last_news(self.directory)

    def state_text(self) -> str:
        """The state for a person."""
        if (since := self.silent_since) is None:
            return self.state
        return f"{self.state}, {silence_text(since)}"

    def _said(self, name: str) -> str | None:
        if said := self.manifest.text(name):
            return said
        return next((str(event[name]) for event in reversed(self.history.starts) if event.get(name)), None)


def load(path: str | os.PathLike[str]) -> RunRecord:
    """Read a run, all its events.

    Args:
        path: Its directory, or its `run.json` or `events.jsonl`.

    Raises:
        RunNotFoundError: There is no run.
        RunFormatError: A newer version wrote it.
    """
    directory = directory_of(Path(path))
    manifest, damage = manifest_of(directory)
    history = History(figure.name for figure in manifest.own_figures)
    _fold_into(history, directory, read_events(directory.events))
    return RunRecord(directory, manifest, history, damage)


def glance(path: Path) -> RunRecord:
    """Read of a run what a list shows: of long events only the end."""
    directory = directory_of(path)
    manifest, damage = manifest_of(directory)
    history = History()
    _fold_into(history, directory, _last_events(directory.events))
    return RunRecord(directory, manifest, history, damage)


def find(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The runs at a path and below it; what lies inside a run is not looked at."""
    for place, names, files in os.walk(path):
        if is_run(Path(place), files):
            names.clear()
            yield Path(place)
        names[:] = sorted(name for name in names if not name.startswith("."))


def is_run(path: Path, files: list[str] | None = None) -> bool:
    """Whether a directory looks like a run of ours."""
    run = RunDirectory(path)
    names = {run.manifest.name, run.events.name}
    return bool(names & set(files)) if files is not None else run.manifest.is_file() or run.events.is_file()


def last_news(directory: RunDirectory) -> float | None:
    """When the run last wrote an event, if that is longer ago than a run under way lets pass; else None."""
    try:
        since = max(path.stat().st_mtime for path in (directory.manifest, directory.events) if path.exists())
    except (OSError, ValueError):
        return None
    return since if time.time() - since > QUIET else None


def silence_text(since: float, ago: float | None = None) -> str:
    """`no news since ...`, and how long that is; by default by this machine's clock."""
    return f"no news since {moment_text(since)} ({duration_text(time.time() - since if ago is None else ago)} ago)"


def moment_text(moment: float) -> str:
    """A moment in local time, as far as the clock's number makes sense."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "?"


def directory_of(path: Path) -> RunDirectory:
    """The run at a path, which may also be that of its manifest or events.

    Raises:
        RunNotFoundError: There is none.
    """
    directory = RunDirectory(path.parent if path.is_file() else path)
    if not is_run(directory.path):
        missing = "there is no such directory" if not path.exists() else "it holds neither run.json nor events.jsonl"
        raise RunNotFoundError(f"{path} is no run: {missing}")
    return directory


def manifest_of(directory: RunDirectory) -> tuple[Manifest, str]:
    """A run's manifest, and what is wrong with it: a damaged one reads as empty.

    Raises:
        RunFormatError: A newer version wrote it, or it cannot be opened.
    """
    try:
        return read_manifest(directory.manifest) or Manifest({}), ""
    except DamagedManifestError as error:
        return Manifest({}), str(error)


def _fold_into(history: History, directory: RunDirectory, events: Iterator[Event]) -> None:
    try:
        for event in events:
            history.receive(event)
    except RunFormatError as error:
        raise RunFormatError(f"{directory.path}: {error}") from error
    except OSError as error:
        raise RunFormatError(f"{directory.events} cannot be read: {error.strerror or error}") from error


def _last_events(path: Path) -> Iterator[Event]:
    return Tail(path, last=_GLANCE).new()


_GLANCE = 1 << 18


def _told_state(history: History) -> str:
    told: Any = history.ending("fail") or history.ending("end")
    if told is None:
        return "unknown"
    return "failed" if told["event"] == "fail" else str(told.get("state") or "completed")
