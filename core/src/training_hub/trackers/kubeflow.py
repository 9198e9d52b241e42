"""Kubeflow Trainer: a run's progress, pushed to the controller, which shows it as the status of the TrainJob.

The controller sets the three variables where its feature gate `TrainJobStatus` is on; the form of the request is that
of its guide "TrainJob Progress and Training Metrics".
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import TypedDict

from training_hub.reading.figures import Pace
from training_hub.store.events import Event, resumed_from, whole
from training_hub.trackers import payload
from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome

URL, CERTIFICATE, TOKEN = (f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "CA_CERT", "TOKEN"))
METRICS, LENGTH = 256, 64
"""Most metrics of a state, and most characters of a name or a value."""
_LARGEST = 2**31 - 1
_SAID = 200
"""Characters of a server's answer in a warning."""


class KubeflowParameters(TypedDict, total=False):
    """Experiment trackers."""


class Kubeflow(Tracker):
    """Pushes percentage, remaining seconds and the newest figures, now and then."""

    name: ClassVar[str] = "kubeflow"
    title: ClassVar[str] = "Kubeflow Trainer"
    parameters: ClassVar[type] = KubeflowParameters
    # No parameter asks for it: each variable has its own name.
    switch: ClassVar[str] = URL
    variables: ClassVar[Mapping[str, str]] = {name: name for name in (URL, CERTIFICATE, TOKEN)}

    interval: ClassVar[float] = 5.0
    """Least seconds between two requests."""
    timeout: ClassVar[float] = 5.0
    """Seconds that a request may take."""
    patience: ClassVar[float] = 15.0
    """Seconds in which the last state has to get there."""

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        if not settings[URL].startswith("https://"):
            return f"{URL} has to begin with https://: a token goes with each request"
        for variable, meaning in ((CERTIFICATE, "certificate"), (TOKEN, "token")):
            if not settings.get(variable):
                return f"{variable} is not set: it names the file of the {meaning}"
            if not Path(settings[variable]).is_file():
                return f"{variable}={settings[variable]}: there is no such file"
        return None

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._pace = Pace()
        self._percent: int | None = None
        self._left: float | None = None
        self._metrics: dict[str, str] = {}

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        url = self.settings[URL]
        self._sender = _Sender(self._post, self.interval, self._failed)
        self._told: set[str] = set()
        return TrackedRun(url, url)

    def receive(self, events: Sequence[Event]) -> None:
        for event in events:
            if event["event"] == "start":
                self._percent, self._left = _percent(resumed_from(event) or 0, whole(event, "max_steps")), None
            elif event["event"] == "step":
                self._percent = _percent(whole(event, "step") or 0, whole(event, "max_steps"))
                self._left = self._pace.seconds_left(event)
            if found := payload.measured(event):
                self._metrics |= {name: f"{value:.6g}" for name, value in found[1].items() if math.isfinite(value)}
        self._sender.send(self._state())

    def end(self, outcome: TrackerOutcome) -> None:
        self._left = None
        if outcome.state == "completed":
            self._percent, self._left = 100, 0.0
        if not self._sender.finish(self._state(), self.patience):
            self.warn(f"{self.title} did not take the last state of this run within {self.patience:.0f} seconds")

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "metrics": [
                {"name": name, "value": value} for name, value in self._metrics.items() if 0 < len(name) <= LENGTH
            ][:METRICS],
            "lastUpdatedTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if self._percent is not None:
            state["progressPercentage"] = self._percent
        if self._left is not None:
            state["estimatedRemainingSeconds"] = min(_LARGEST, round(self._left))
        return state

    def _post(self, state: Mapping[str, Any]) -> None:
        """Send a state.

        Raises:
            ConnectionError: It was not taken; the message says why, without the token.
        """
        token = ""
        try:
            # Both files are replaced from time to time.
            token = Path(self.settings[TOKEN]).read_text(encoding="utf-8").strip()
            if not token:
                raise ConnectionError(f"{TOKEN}={self.settings[TOKEN]}: the file is empty")
            secured = ssl.create_default_context(cafile=self.settings[CERTIFICATE])
            request = urllib.request.Request(  # noqa: S310 - https alone: see `problem`
                self.settings[URL],
                json.dumps({"trainerStatus": state}).encode(),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=secured), _NoRedirect())
            with opener.open(request, timeout=self.timeout) as answer:
                answer.read()
        except (OSError, ValueError) as error:
            said = _reason(error, self.timeout)
            raise ConnectionError(said.replace(token, "***") if token else said) from None

    def _failed(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self.warn(f"{self.title} did not take the state of this run, which is sent again: {reason}")


class _Sender:
    """Sends the newest state from a thread of its own, one at a time, until it is taken."""

    def __init__(
        self, post: Callable[[Mapping[str, Any]], None], interval: float, failed: Callable[[str], None]
    ) -> None:
        self._post = post
        self._interval = interval
        self._failed = failed
        self._newest: Mapping[str, Any] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="training-hub-kubeflow-states", daemon=True)
        self._thread.start()

    def send(self, state: Mapping[str, Any]) -> None:
        with self._changed:
            self._newest = state
            self._changed.notify_all()

    def finish(self, state: Mapping[str, Any], seconds: float) -> bool:
        """Send the last state; whether it was taken in so many seconds."""
        self.send(state)
        with self._changed:
            taken = self._changed.wait_for(lambda: self._newest is None, seconds)
            self._ended = True
            self._changed.notify_all()
        return taken

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                if self._ended:
                    return
                state = self._newest
            assert state is not None
            try:
                self._post(state)
            except ConnectionError as error:
                self._failed(str(error))
            else:
                with self._changed:
                    # A newer one has come meanwhile.
                    if self._newest is state:
                        self._newest = None
                    self._changed.notify_all()
            with self._changed:
                self._changed.wait_for(lambda: self._ended, self._interval)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the server that it was given for."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _percent(step: int, most: int | None) -> int | None:
    """Of the steps; all of them are done when the run has ended."""
    return min(99, step * 100 // most) if most else None


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        said = error.read(10_000).decode("utf-8", errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            said = str(json.loads(said)["message"])
        return f"{error.code} {error.reason}: {' '.join(said.split())[:_SAID]}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate does not fit {CERTIFICATE}: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, TimeoutError):
        return f"{CERTIFICATE}, or its connection: {cause.reason or cause}"
    return f"no answer within {timeout:g} seconds" if isinstance(cause, TimeoutError) else str(cause)
