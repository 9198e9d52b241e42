"""One execution: translate, check, record, train."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.credentials import masked, without_credentials
from training_hub.errors import TrainingFailedError, TrainingHubError
from training_hub.parameters.resolution import Parameters
from training_hub.request import Request, check_request
from training_hub.runs.console import Console
from training_hub.runs.directory import RunDirectory, write_json
from training_hub.runs.events import Event, EventLog, Follower
from training_hub.trackers.fan_out import Trackers
from training_hub.translation import Translation

if TYPE_CHECKING:
    from training_hub.backend import FrameworkBackend
    from training_hub.runs.result import TrainingResult

logger = logging.getLogger("training_hub")


@dataclass(frozen=True)
class Run:
    """What a backend is given to train: a request that holds, its translation, and where everything goes."""

    backend: str
    parameters: Parameters
    translation: Translation
    request: Request
    events: EventLog

    @property
    def directory(self) -> RunDirectory:
        return self.request.directory

    @property
    def data_directory(self) -> Path:
        """Where processed rows go."""
        return Path(self.parameters["data_output_dir"] or self.directory.path / "data")


def carry_out(backend: FrameworkBackend, parameters: Parameters) -> TrainingResult:
    """Carry out a run and record it.

    Raises:
        UserError: The request does not hold; nothing was written.
        TrainingFailedError: Training started and did not finish.
    """
    translation = backend.translate(parameters)
    translation.raise_for_refusals()
    request = check_request(parameters)
    run = Run(backend.name, parameters, translation, request, EventLog(request.directory.events))
    with run.directory.new_run():
        return _recorded(backend, run)


def _recorded(backend: FrameworkBackend, run: Run) -> TrainingResult:
    directory = run.directory
    manifest = _manifest(backend, run)
    write_json(directory.manifest, manifest)
    trackers = Trackers(run.parameters, manifest, directory, run.events)

    def receive(event: Event) -> None:
        if event["event"] == "start":
            directory.started()
        console.receive(event)
        trackers.receive(event)

    try:
        with Console() as console, Follower(directory.events, receive):
            result = backend.train(run)
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        run.events.emit("fail", error=type(error).__name__, message=str(error))
        cause = without_credentials(str(error))
        write_json(directory.manifest, manifest | {"state": state, "end": time.time(), "cause": cause})
        trackers.end(state, error=error, artifacts=[directory.manifest])
        if isinstance(error, Exception) and not isinstance(error, TrainingHubError):
            raise TrainingFailedError(
                f"training with {backend.name} failed: {type(error).__name__}: {error}"
            ) from error
        raise
    run.events.emit("end", metrics=result.metrics)
    write_json(
        directory.manifest, manifest | {"state": "completed", "end": time.time(), "checkpoint": result.checkpoint}
    )
    trackers.end("completed", result.metrics, artifacts=[directory.manifest])
    return result


def _manifest(backend: FrameworkBackend, run: Run) -> dict[str, Any]:
    parameters, translation, data = run.parameters, run.translation, run.request.data
    found: dict[str, Any] = {
        "schema": 1,
        "state": "running",
        "start": time.time(),
        "algorithm": parameters.algorithm,
        "backend": backend.name,
        "backend_choice": backend.chosen_because,
        "versions": {
            name: _version(name) for name in ("training-hub", backend.framework, "torch", "transformers") if name
        },
        "parameters": {
            name: {"value": value, "origin": parameters.origin[name]}
            for name, value in parameters.items()
            if not parameters.declared[name].secret
        },
        "further": dict(parameters.further),
        "arguments": {owner: dict(values) for owner, values in translation.arguments.items()},
        "launch": asdict(translation.launch) if translation.launch else None,
        "data": {"path": str(data.path), "format": data.format, "rows": data.rows, "sha256": data.fingerprint},
    }
    manifest: dict[str, Any] = masked(found)
    return manifest


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
