"""What a backend is given to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training_hub.backends.job import Job
from training_hub.backends.translation import Translation
from training_hub.data.check import DatasetSummary
from training_hub.data.options import DatasetOptions
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters.groups import CALLERS_ALONE
from training_hub.parameters.resolution import Parameters, copied
from training_hub.store.checkpoints import Checkpoint
from training_hub.store.directory import RunDirectory, data_directory
from training_hub.store.events import Event, EventLog


class Watches(Protocol):
    """Who says when the processes of a run are to be ended."""

    def heard(self, event: Event) -> None:
        """An event has come from the processes."""

    def check(self) -> None:
        """Called now and then by whoever waits for the processes.

        Raises:
            TimeoutError: They are to be ended; the message says why.
        """


class Launcher(Protocol):
    """Who starts the processes of a run, and waits until they have ended; `launchers.local.launch` is one."""

    def __call__(
        self, plan: LaunchPlan, arguments: Sequence[str], logs: Path, check: Callable[[], None] | None = None
    ) -> None:
        """Start them; the arguments are those of the plan's module.

        Raises:
            TrainingHubError: One of them failed.
        """


@dataclass(frozen=True)
class Run:
    """A request that holds, its translation, and where everything goes."""

    backend: str
    """Name of the backend."""
    parameters: Parameters
    translation: Translation
    directory: RunDirectory
    """Where everything of the run goes; it is there, and locked."""
    data: DatasetSummary
    """What the check of the rows found."""
    eval_data: DatasetSummary | None
    """The same of `eval_data_path`."""
    resume_from: Checkpoint | None
    """The checkpoint to go on from."""
    events: EventLog
    watchdog: Watches
    """Its `check` is for whoever waits for processes of the run."""
    rank_callbacks: Mapping[str, Any]
    """For `RankCallbacks`, as plain data: the callbacks that run in the processes that train."""
    launcher: Launcher = launch
    """Starts its processes."""

    def _for_workers(self) -> list[str]:
        declared = self.parameters.declared
        return [name for name in self.parameters if name not in CALLERS_ALONE and not declared[name].caller]

    def job(self) -> Job:
        """All that the processes which train need to know."""
        return Job(
            algorithm=self.parameters.algorithm,
            backend=self.backend,
            parameters=self.parameters.only(self._for_workers()),
            # The framework may write into them, and the manifest is written once more.
            arguments={owner: copied(dict(values)) for owner, values in self.translation.arguments.items()},
            dataset=DatasetOptions.of(self.parameters),
            data=self.data,
            eval_data=self.eval_data,
            directory=self.directory,
            data_directory=data_directory(self.parameters),
            resume_from=self.resume_from,
            rank_callbacks=self.rank_callbacks,
        )
