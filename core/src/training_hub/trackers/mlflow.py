"""MLflow, by a client of its own: what the program has set up in `mlflow` itself is neither used nor changed."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from typing_extensions import TypedDict

from training_hub.parameters.declaration import Param
from training_hub.store.events import Event, moment
from training_hub.store.redaction import without_credentials
from training_hub.trackers import payload
from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome

_SILENT = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
_CONNECT_SECONDS = 10.0
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_LONGEST = 6000
"""Most characters that a server takes as a value."""
_PARAMETERS, _METRICS = 100, 1000
"""Most of each that a server takes at once."""


class MLflowParameters(TypedDict, total=False):
    """Experiment trackers."""

    mlflow_tracking_uri: Annotated[
        str | None, Param(None, "MLflow tracking server, database or directory; turns that tracker on.", caller=True)
    ]
    mlflow_experiment_name: Annotated[str | None, Param(None, "MLflow experiment.", caller=True)]
    mlflow_run_name: Annotated[str | None, Param(None, "Name of the run in MLflow.", caller=True)]


class MLflow(Tracker):
    """Parameters, metrics by step and artifacts, through an MLflow server, a database or a directory."""

    name: ClassVar[str] = "mlflow"
    title: ClassVar[str] = "MLflow"
    parameters: ClassVar[type] = MLflowParameters
    switch: ClassVar[str] = "mlflow_tracking_uri"
    variables: ClassVar[Mapping[str, str]] = {
        "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
        "mlflow_experiment_name": "MLFLOW_EXPERIMENT_NAME",
        "mlflow_run_name": "",
    }
    distributions: ClassVar[tuple[str, ...]] = ("mlflow", "mlflow-skinny")
    least: ClassVar[tuple[int, int]] = (3, 0)
    install: ClassVar[str] = 'pip install "training-hub[mlflow]"'

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        uri = urlsplit(str(settings["mlflow_tracking_uri"]))
        scheme = uri.scheme.partition("+")[0]
        if scheme in _DATABASES and not find_spec("sqlalchemy"):
            return f"sqlalchemy is not installed, which MLflow needs for {scheme}: pip install mlflow"
        if scheme not in ("http", "https") or uri.hostname is None:
            return None
        if getproxies().get(scheme) and not proxy_bypass(uri.hostname):
            return None
        try:
            port = uri.port or {"http": 80, "https": 443}[scheme]
            socket.create_connection((uri.hostname, port), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            return f"nobody answers there: {error}; start the server, or give the address of another one"
        return None

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = str(self.settings["mlflow_tracking_uri"])
        self._client = MlflowClient(tracking_uri=uri)
        self._step = 0
        if earlier:
            run = self._client.get_run(earlier)
            self._client.update_run(earlier, status="RUNNING")
        else:
            run = self._client.create_run(self._experiment(), run_name=self.settings.get("mlflow_run_name"))
        self._id = run.info.run_id
        if not earlier:
            given = [Param(n, _short(payload.text(value))) for n, value in payload.parameters(manifest).items()]
            for first in range(0, len(given), _PARAMETERS):
                self._client.log_batch(self._id, params=given[first : first + _PARAMETERS])
        page = f"{without_credentials(uri).rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{self._id}"
        return TrackedRun(self._id, page if uri.startswith("http") else f"run {self._id} in {uri}")

    def receive(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric

        found: list[Any] = []
        for event in events:
            if measured := payload.measured(event):
                self._step, figures = measured
                at = int(moment(event) * 1000)
                found += [Metric(_name(name), value, at, self._step) for name, value in figures.items()]
        for first in range(0, len(found), _METRICS):
            self._client.log_batch(self._id, metrics=found[first : first + _METRICS])

    def end(self, outcome: TrackerOutcome) -> None:
        for name, value in payload.final(outcome.metrics).items():
            self._client.log_metric(self._id, _name(name), value, step=self._step)
        self._client.set_tag(self._id, "training_hub.state", outcome.state)
        if outcome.cause:
            self._client.set_tag(self._id, "training_hub.cause", _short(outcome.cause))
        status = "FINISHED" if outcome.well else "KILLED" if outcome.state == "interrupted" else "FAILED"
        try:
            for path in outcome.files():
                self._client.log_artifact(self._id, str(path))
        finally:
            # A store of artifacts that is out of reach leaves no run that looks as if it were going on.
            with _silent():
                self._client.set_terminated(self._id, status)

    def _experiment(self) -> str:
        name = self.settings.get("mlflow_experiment_name")
        if not name:
            return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self._client.create_experiment(name))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the client from printing the run's address, password and all, to stdout."""
    before = os.environ.get(_SILENT)
    os.environ[_SILENT] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SILENT]
        else:
            os.environ[_SILENT] = before


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."


def _name(name: str) -> str:
    """A name that a server takes: frameworks' own figures are named as they like."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)[:250]
