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
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import TypedDict

from training_hub.reading.figures import Pace
from training_hub.store.events import Event, resumed_from, whole
from training_hub.store.redaction import without_credentials
from training_hub.trackers import payload
from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome

URL, CERTIFICATE, TOKEN = (f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "CA_CERT", "TOKEN"))
METRICS, LENGTH = 256, 64
"""Most metrics of a state, and most characters of a name or a value."""
_ROOM = 60 * 1024
"""Bytes for the metrics of a request, which has to be smaller than 64 KiB."""
_LARGEST = 2**31 - 1
_SAID = 200
"""Characters of a server's answer in a warning."""


_SHARED = tuple(name for names in payload.FIGURES.values() for name in names)


class NotTakenError(Exception):
    """The controller has not taken a state; the message says why, without the token."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The same for every failure of one reason, whatever its words."""


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
        self._figures: dict[str, float] = {}

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        url = without_credentials(self.settings[URL])
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
                self._figures |= found[1]
        self._sender.send(self._state())

    def end(self, outcome: TrackerOutcome) -> None:
        self._left = None
        if outcome.state == "completed":
            self._percent, self._left = 100, 0.0
        if not self._sender.finish(self._state(), self.patience):
            self.warn(f"{self.title} did not take the last state of this run within {self.patience:.0f} seconds")

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "metrics": _metrics(self._figures),
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
            NotTakenError: It was not taken.
        """
        token = ""
        try:
            # Both files are replaced from time to time.
            token = _token(Path(self.settings[TOKEN]))
            secured = ssl.create_default_context(cafile=self.settings[CERTIFICATE])
            request = urllib.request.Request(  # noqa: S310 - https alone: see `problem`
                self.settings[URL],
                json.dumps({"trainerStatus": state}).encode(),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=secured), _NoRedirect())
            # The status says whether it was taken; what follows may be cut off.
            opener.open(request, timeout=self.timeout).close()
        except (OSError, ValueError, HTTPException) as error:
            raise _reason(error, self.timeout, token) from None

    def _failed(self, reason: NotTakenError) -> None:
        if reason.kind not in self._told:
            self._told.add(reason.kind)
            self.warn(f"{self.title} did not take the state of this run, which is sent again: {reason}")


class _Sender:
    """Sends the newest state from a thread of its own, one at a time, until it is taken."""

    def __init__(
        self, post: Callable[[Mapping[str, Any]], None], interval: float, failed: Callable[[NotTakenError], None]
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
            except NotTakenError as error:
                self._failed(error)
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


def _metrics(figures: Mapping[str, float]) -> list[dict[str, str]]:
    """Finite figures, as many as are taken: first those of every run, then an algorithm's, then the framework's."""
    found: list[dict[str, str]] = []
    room = _ROOM
    for name in sorted(figures, key=_rank):
        metric = {"name": name, "value": f"{figures[name]:.6g}"}
        if not (math.isfinite(figures[name]) and 0 < len(name) <= LENGTH):
            continue
        room -= len(json.dumps(metric)) + 2
        if room < 0 or len(found) == METRICS:
            break
        found.append(metric)
    return found


def _rank(name: str) -> tuple[int, str]:
    if name in _SHARED:
        return _SHARED.index(name), name
    return len(_SHARED) + name.startswith(f"{payload.FRAMEWORK}/"), name


def _token(path: Path) -> str:
    """What a file holds, if it can be a token: what refuses another header quotes it."""
    found = path.read_bytes().decode("ascii", errors="replace").strip()
    if not found:
        raise NotTakenError("token", f"{TOKEN}={path}: the file is empty")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise NotTakenError("token", f"{TOKEN}={path}: the file holds something else than one token")
    return found


def _reason(error: Exception, timeout: float, token: str) -> NotTakenError:
    if isinstance(error, urllib.error.HTTPError):
        said = ""
        with suppress(OSError, ValueError, HTTPException), error:
            said = error.read(10_000).decode("utf-8", errors="replace")
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            said = str(json.loads(said)["message"])
        # A part of a token is one, too: it goes before the rest is cut.
        said = " ".join(said.replace(token, "***").split())[:_SAID]
        return NotTakenError(
            str(error.code), f"{error.code} {error.reason.replace(token, '***')}{said and f': {said}'}"
        )
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    kind = type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotTakenError(kind, f"its certificate does not fit {CERTIFICATE}: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, TimeoutError):
        return NotTakenError(kind, f"{CERTIFICATE}, or its connection: {cause.reason or cause}")
    if isinstance(cause, TimeoutError):
        return NotTakenError(kind, f"no answer within {timeout:g} seconds")
    said = " ".join((str(cause).replace(token, "***") if token else str(cause)).split())
    return NotTakenError(kind, f"{kind}: {said}" if isinstance(cause, HTTPException) else said)
