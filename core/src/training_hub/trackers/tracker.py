"""What a tracker is: the adapter that tells one tracking system what happens in a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_hub.runs.events import Event


@dataclass(frozen=True)
class Place:
    """Where a run is found in a tracking system."""

    id: str
    """What a resumed run goes on with."""
    where: str
    """What a person opens: an address or a path."""


@dataclass(frozen=True)
class Outcome:
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

    Whatever a method raises ends the tracking of the run there, with a warning.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Takes values by the names of the tracker's parameters; those that nobody gave are missing."""
        self.settings = settings

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        """What stands in the way on this machine, as far as it can be told before training; None when nothing does."""
        return None

    @abstractmethod
    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> Place:
        """Open the run and record its parameters.

        Args:
            manifest: What runs, as `run.json` has it.
            earlier: For a resumed run, the id of the place where it was tracked before.
        """

    @abstractmethod
    def receive(self, events: Sequence[Event]) -> None:
        """Record some events, in order."""

    @abstractmethod
    def end(self, outcome: Outcome) -> None:
        """Record how the run ended, and let go of the tracking system."""
