"""The job of a run, as the processes that train have it: written by the caller's process, read by each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training_hub.data.check import DatasetSummary
from training_hub.data.options import DatasetOptions
from training_hub.parameters.groups import default_of
from training_hub.store.checkpoints import Checkpoint, complete
from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.store.events import EventLog

NEVER_READ = "translated for the framework, and read by nothing that trains, so that they did nothing: "
"""How the warning of `Job.tell_unread` begins."""


class _Values(Mapping[str, Any]):
    """Values by their names, where looking one up does more than a dictionary does; the rest is as there."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class JobParameters(_Values):
    """The parameters' values by their names. One that the algorithm does not take has the hub's default."""

    def __getitem__(self, name: str) -> Any:
        return self._values[name] if name in self._values else default_of(name, self)


class Arguments(_Values):
    """Arguments of one class or function of the framework, which know whether anybody has read them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.unread = set(self._values)
        """Names that nobody has read yet."""

    def __getitem__(self, name: str) -> Any:
        self.unread.discard(name)
        return self._values[name]

    def __repr__(self) -> str:
        return repr(self._values)


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what, with what, and where it goes."""

    algorithm: str
    backend: str
    parameters: Mapping[str, Any]
    """Every parameter that the algorithm takes and the caller does not keep to itself (callbacks, trackers)."""
    arguments: Mapping[str, Mapping[str, Any]]
    """The framework's arguments, by the class or function that takes them. What nobody reads of them does nothing,
    which the hub tells at the end."""
    dataset: DatasetOptions
    """How rows are read."""
    data: DatasetSummary
    """What the check of the rows found."""
    eval_data: DatasetSummary | None
    """The same of `eval_data_path`."""
    directory: RunDirectory
    """The run's; of a further node its own."""
    data_directory: Path
    """Where processed rows go."""
    resume_from: Checkpoint | None
    """The checkpoint to go on from."""
    rank_callbacks: Mapping[str, Any]
    """For `RankCallbacks`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", {owner: Arguments(values) for owner, values in self.arguments.items()})

    @property
    def file(self) -> Path:
        """Where `write` puts it."""
        return self.directory.logs / "job.json"

    def write(self) -> Path:
        """Write it into the run's directory, for the processes that train; return the file."""
        write_json(
            self.file,
            {
                "algorithm": self.algorithm,
                "backend": self.backend,
                "parameters": dict(self.parameters),
                "arguments": {owner: dict(values) for owner, values in self.arguments.items()},
                "dataset": asdict(self.dataset),
                "data": asdict(self.data),
                "eval_data": asdict(self.eval_data) if self.eval_data else None,
                "directory": str(self.directory.path),
                "data_directory": str(self.data_directory),
                "resume_from": str(self.resume_from.path) if self.resume_from else None,
                "rank_callbacks": dict(self.rank_callbacks),
            },
        )
        return self.file

    def unread_arguments(self) -> list[str]:
        """Arguments that nobody has read, as `Class.field`: the framework cannot have been given them."""
        return [
            f"{owner}.{name}"
            for owner, values in self.arguments.items()
            if isinstance(values, Arguments)
            for name in sorted(values.unread)
        ]

    def tell_unread(self) -> None:
        """Warn of arguments that nobody has read: whoever gave such a value must not think that it was heeded."""
        if unread := self.unread_arguments():
            EventLog(self.directory.events).emit("warning", message=f"{NEVER_READ}{', '.join(unread)}")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `write` wrote."""
        found = read_json(path)
        return cls(
            algorithm=found["algorithm"],
            backend=found["backend"],
            parameters=JobParameters(found["parameters"]),
            arguments=found["arguments"],
            dataset=DatasetOptions(**found["dataset"]),
            data=DatasetSummary(**found["data"]),
            eval_data=DatasetSummary(**found["eval_data"]) if found["eval_data"] else None,
            directory=RunDirectory(Path(found["directory"])),
            data_directory=Path(found["data_directory"]),
            resume_from=complete(Path(found["resume_from"])) if found["resume_from"] else None,
            rank_callbacks=found["rank_callbacks"],
        )
