"""What a tracker is: the adapter that tells one tracking system what happens in a run."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from training_hub.store.events import Event


@dataclass(frozen=True)
class TrackedRun:
    """Where a run is found in a tracking system."""

    id: str
    """What a resumed run goes on with."""
    where: str
    """What a person opens: an address or a path."""


@dataclass(frozen=True)
class TrackerOutcome:
    """How a run ended."""

    state: str
    """`completed`, `stopped`, `interrupted` or `failed`."""
    cause: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    """Files to keep with the run; those that do not exist are left out."""

    @property
    def well(self) -> bool:
        return self.state in ("completed", "stopped")

    def files(self) -> list[Path]:
        return [path for path in self.artifacts if path.is_file()]


class Tracker(ABC):
    """One run in one tracking system. Every method is called from the same thread, which may wait as long as it takes.

    Whatever a method raises ends the tracking of the run there, with a warning. A plugin brings a tracker by the hook
    `training_hub_trackers`; its parameters are then those of every algorithm. A tracker follows the events, so no
    backend does anything for it.
    """

    name: ClassVar[str]
    """A word for messages and files, such as `wandb`."""
    title: ClassVar[str]
    """Its name as a person writes it."""
    parameters: ClassVar[type]
    """Its parameters, declared as an algorithm's are: a `TypedDict`, each with `Param(..., caller=True)`."""
    switch: ClassVar[str]
    """The parameter that turns it on."""
    variables: ClassVar[Mapping[str, str]]
    """Its parameters, each with the environment variable that stands for it where it is not given, or ""."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Any of these brings its client; empty where it needs none."""
    least: ClassVar[tuple[int, int]] = (0, 0)
    """The oldest release of the client that has what is used here."""
    install: ClassVar[str] = ""
    """The command that installs the client."""

    @classmethod
    def missing(cls) -> str | None:
        """Why its client cannot be used, with what mends it; told from metadata alone."""
        mend = f": {cls.install}" if cls.install else ""
        for distribution in cls.distributions:
            try:
                found = version(distribution)
            except PackageNotFoundError:
                continue
            if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) >= cls.least:
                return None
            least = ".".join(map(str, cls.least))
            return f"{distribution} {found} is installed, and {least} or newer is needed{mend}"
        return f"{cls.name} is not installed{mend}" if cls.distributions else None

    @classmethod
    def disabled(cls, variables: Mapping[str, str]) -> bool:
        """Whether the tracking system's own variables switch it off."""
        return False

    warn: Callable[[str], None] = staticmethod(lambda message: None)
    """Tells the user something, from any thread, without ending the tracking; the hub sets it before `begin`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Takes values by the names of the tracker's parameters; those that nobody gave are missing."""
        self.settings = settings

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        """What stands in the way on this machine, as far as it can be told before training; None when nothing does."""
        return None

    @abstractmethod
    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        """Open the run and record its parameters.

        Args:
            manifest: What runs, as `run.json` has it.
            earlier: For a resumed run, the id of the place where it was tracked before.
        """

    @abstractmethod
    def receive(self, events: Sequence[Event]) -> None:
        """Record some events, in order."""

    @abstractmethod
    def end(self, outcome: TrackerOutcome) -> None:
        """Record how the run ended, and let go of the tracking system."""
