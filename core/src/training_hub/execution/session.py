"""One run, carried through in the caller's process: translate, check, record, train, tell."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from training_hub.backends.base import Backend, FrameworkBackend
from training_hub.backends.run import Run
from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.errors import (
    TrainingFailedError,
    TrainingHubError,
    UserError,
    import_failure,
    in_one_line,
)
from training_hub.execution.callback_failures import CallbackFailures
from training_hub.execution.checkpoint_links import CheckpointLinks
from training_hub.execution.dispatch import Dispatcher
from training_hub.execution.from_ranks import FromRanks
from training_hub.execution.joined import conduct, join, placed
from training_hub.execution.manifest import manifest
from training_hub.execution.metrics_files import MetricsFiles
from training_hub.execution.rank_callbacks import for_ranks
from training_hub.execution.signals import Ended, SignalHandler, Terminated, ended
from training_hub.execution.watchdog import Watchdog
from training_hub.launchers.joined import JoinedLauncher
from training_hub.launchers.local import ImportFailedError, launch
from training_hub.launchers.meeting import Meeting, meeting
from training_hub.launchers.ranks import left_behind, ranks
from training_hub.parameters.resolution import Parameters
from training_hub.plugins import discovery
from training_hub.preflight.request import Request, check_request
from training_hub.preflight.resume import check_same
from training_hub.reading.console import Console
from training_hub.store.checkpoints import newest, remove_half_written
from training_hub.store.control import Control
from training_hub.store.directory import write_json
from training_hub.store.events import Event, EventLog, Follower
from training_hub.store.redaction import without_credentials
from training_hub.store.result import TrainingResult
from training_hub.trackers.dispatch import Trackers

logger = logging.getLogger("training_hub")


def execute(backend: Backend, parameters: Parameters) -> Any:
    """Execute an algorithm with resolved parameters; what a plain backend returns reaches the caller as it is.

    Raises:
        UserError: The request does not hold; nothing was written.
        TrainingFailedError: Training started and did not finish.
        CallbackError: A callback raised; the run was stopped with a checkpoint.
        SystemExit: SIGTERM came; the run was stopped with a checkpoint.
    """
    if isinstance(backend, FrameworkBackend):
        return _recorded(backend, parameters)
    return backend.execute_training(parameters.for_backend())


def _recorded(backend: FrameworkBackend, parameters: Parameters) -> TrainingResult:
    if (here := ranks(os.environ)) is None:
        return _conducted(backend, parameters)
    met = meeting(here)
    if not here.conducts:
        return join(met, parameters.algorithm)
    return conduct(met, parameters.algorithm, lambda: _conducted(backend, placed(parameters, here), met))


def _conducted(backend: FrameworkBackend, parameters: Parameters, met: Meeting | None = None) -> TrainingResult:
    """Carry a run through, by itself or with those that have met."""
    translation = backend.translate(parameters)
    translation.raise_for_refusals()
    callbacks = _callbacks(parameters)
    rank_callbacks = for_ranks(callbacks, backend, parameters, translation.launch)
    request = check_request(parameters)
    if left := left_behind(os.environ):
        request = replace(request, warnings=(*request.warnings, left))
    described = manifest(backend, parameters, translation, request)
    if request.resumption is not None:
        free = [name for name, parameter in parameters.declared.items() if parameter.caller]
        check_same(request.resumption, described, parameters["resume_changes"] or [], free)
    here = request.resumption is not None and request.resumption.here
    with request.directory.new_run(resumed=here):
        control = Control(request.directory)
        resumed = request.resumption
        run = Run(
            backend=backend.name,
            parameters=parameters,
            translation=translation,
            directory=request.directory,
            data=request.data,
            eval_data=request.eval_data,
            resume_from=resumed.checkpoint if resumed else None,
            events=EventLog(request.directory.events),
            watchdog=Watchdog(control, parameters["grace_seconds"], parameters["hang_seconds"]),
            rank_callbacks=rank_callbacks,
            launcher=JoinedLauncher(met, control) if met else launch,
        )
        here_alone = [callback for callback in callbacks if not callback.run_on_all_ranks]
        return Session(backend, run, request, control, described).train(here_alone)


def _callbacks(parameters: Parameters) -> list[TrainingHubCallback]:
    given = parameters["callbacks"]
    if given is None:
        return []
    return [given] if isinstance(given, TrainingHubCallback) else list(given)


class Reader(Protocol):
    """Who hears of a run while it trains."""

    def receive(self, event: Event) -> None:
        """Take an event; neither wait nor fail."""


class Session:
    """A run whose events, state and end are written down."""

    def __init__(
        self, backend: FrameworkBackend, run: Run, request: Request, control: Control, described: dict[str, Any]
    ) -> None:
        self.backend = backend
        self.run = run
        self.request = request
        self.control = control
        self.manifest = described
        self._began = False

    def train(self, callbacks: list[TrainingHubCallback]) -> TrainingResult:
        run, directory = self.run, self.run.directory
        self._begin()
        trackers = Trackers(discovery.trackers(), run.parameters, self.manifest, directory, run.events)
        context = TrainingHubContext(
            output_dir=str(directory.path),
            run_dir=directory.path,
            run_control=self.control,
            can=self.backend.controls,
            backend=self.backend.name,
            emit=run.events.emit,
        )
        failures = CallbackFailures(self.control, run.parameters["callback_errors"])
        algorithm, values = run.parameters.algorithm, self.manifest["parameters"]
        given = {name: entry["value"] for name, entry in values.items()}
        metrics = MetricsFiles(algorithm, given, directory, run.events)
        links = CheckpointLinks(algorithm, directory, run.events)
        try:
            with (
                SignalHandler(self.control, "stop" in self.backend.controls, self._failed) as interruption,
                Console(run.parameters.figures) as console,
                Dispatcher(callbacks, context, self.control, failures) as dispatcher,
                Follower(
                    directory.events,
                    partial(
                        self._receive,
                        (console, metrics, links, dispatcher, trackers, FromRanks(self.control, failures)),
                    ),
                ),
            ):
                for warning in (*run.translation.warnings, *self.request.warnings):
                    run.events.emit("warning", message=warning)
                result = self.backend.train(run)
                state = "stopped" if self.control.stop_asked and not self._reached_end(result) else "completed"
                result = replace(result, state=state)
                run.events.emit("end", state=state, metrics=result.metrics)
        except BaseException as error:
            failed = self._failed(ended(error))
            trackers.end(self.manifest["state"], error=error)
            raise failed from (failed.__cause__ if isinstance(error, TrainingHubError) else error)
        self._write(
            state=result.state, end=time.time(), checkpoint=result.checkpoint, cause=self.control.stop_asked or None
        )
        trackers.end(result.state, result.metrics)
        if failures.error is not None:
            raise self._with_checkpoint(failures.error)
        if interruption.signal is signal.SIGTERM:
            raise Terminated(result)
        return result

    def _begin(self) -> None:
        directory, resumed = self.run.directory, self.request.resumption
        if resumed is not None:
            logger.info("going on from %s (step %d)", resumed.checkpoint.path, resumed.checkpoint.step)
            if resumed.here:
                self.run.events.mend()
                for path in remove_half_written(directory.path):
                    logger.info("%s was half-written, and is removed", path)
                earlier = {name: resumed.manifest.get(name) for name in ("start", "end", "state", "cause", "versions")}
                self.manifest["resumed"] = [*resumed.manifest.get("resumed", []), earlier]
            self.manifest["resumed_from"] = str(resumed.checkpoint.path)
        elif self.run.parameters["resume"] is True:
            logger.info("resume=True: there is no complete checkpoint yet; starting from the beginning")
        self._write()

    def _receive(self, readers: Iterable[Reader], event: Event) -> None:
        self.run.watchdog.heard(event)
        if event["event"] == "start":
            self._began = True
            self.run.directory.started()
        elif event["event"] == "protection":
            # What ends this thread would end what is shown of the run.
            with contextlib.suppress(OSError):
                self._write(protection={name: event[name] for name in ("share", "kinds") if name in event})
        for reader in readers:
            reader.receive(event)

    def _reached_end(self, result: TrainingResult) -> bool:
        """Whether a run that was asked to stop was over before."""
        step, most = result.metrics.get("step"), result.metrics.get("max_steps")
        return step is not None and step == most

    def _failed(self, error: BaseException) -> BaseException:
        """Write down how the run ended, and give the error to raise."""
        error = self._with_framework(error)
        interrupted = isinstance(error, KeyboardInterrupt)
        cause = error.number.name if isinstance(error, Ended) else str(error) or type(error).__name__
        cause = without_credentials(cause)
        # A disk that is full may be why: what is raised counts more than what is written.
        with contextlib.suppress(OSError):
            self.run.events.emit("fail", error=type(error).__name__, message=str(error))
        with contextlib.suppress(OSError):
            self._write(state="interrupted" if interrupted else "failed", end=time.time(), cause=cause)
        if isinstance(error, Ended) and error.number == signal.SIGTERM:
            return SystemExit(128 + signal.SIGTERM)
        if isinstance(error, UserError) or not isinstance(error, Exception):
            return error
        if isinstance(error, TrainingHubError):
            return self._with_checkpoint(error)
        return self._with_checkpoint(
            TrainingFailedError(f"training with {self.backend.name} failed: {type(error).__name__}: {error}")
        )

    def _with_framework(self, error: BaseException) -> BaseException:
        """The error; one that names the framework and its version where that cannot be imported."""
        framework = self.backend.framework
        if self._began or framework is None:
            return error
        cause: BaseException | None
        if isinstance(error, ImportFailedError):
            said, cause = str(error), error.__cause__
        elif not isinstance(error, TrainingHubError) and (found := import_failure(error)):
            said, cause = in_one_line(found), error
        else:
            return error
        version = self.manifest["versions"].get(framework)
        named = TrainingFailedError(f"{framework}{f' {version}' if version else ''} cannot be imported: {said}")
        named.__cause__ = cause
        return named

    def _with_checkpoint(self, error: TrainingHubError) -> TrainingHubError:
        """The error, with where to go on from in its message."""
        if last := newest(self.run.directory.path):
            go_on = "; resume=True goes on from it" if last.resumable else ""
            cause = error.__cause__
            error = type(error)(f"{error}\nlast complete checkpoint: {last.path}{go_on}")
            error.__cause__ = cause
        return error

    def _write(self, **changes: Any) -> None:
        self.manifest |= changes
        write_json(self.run.directory.manifest, self.manifest)
