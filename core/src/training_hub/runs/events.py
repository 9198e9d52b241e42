"""The event stream of a run: `events.jsonl`, one JSON object a line, written by the run and read by everything else.

Every event has `event` (its kind), `time` (seconds since the epoch) and the fields of its kind:

- `start`: `schema` (the version of this list), `algorithm`, `backend`, `rows`, `max_steps`, `num_epochs`, `world_size`,
  `effective_batch_size`, `resumed_from` (the step whose checkpoint training goes on from; None at a beginning)
- `step`: after each optimizer step: `step`, `max_steps`, `epoch`, `loss` (nats a trained token over the effective
  batch), `learning_rate`, `grad_norm`, `tokens` (trained so far, all processes), `tokens_per_second`, `framework` (the
  framework's own figures, whole); where a step's figures are not logged, only `step`, `max_steps` and `epoch`
- `eval`: `step`, `epoch`, `validation_loss` (nats a trained token)
- `save`: `step`, `checkpoint` (a directory; the event comes when it is complete)
- `epoch`: `epoch` (passes over the rows done, a whole number), `step`
- `warning`: `message`
- `stop`: `step`, `reason`: training ends before its last step because somebody asked for it
- `fail`: `error`, `message`
- `end`: `state` (`completed` or `stopped`), `metrics`

A resumed run goes on in the same file: after a `start` with `resumed_from`, steps after that one are told anew, and
those told before it no longer count (`live_events`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from training_hub.credentials import without_credentials

Event: TypeAlias = dict[str, Any]

SCHEMA = 1
"""Version of the list above; raised when a reader of an older one would misread a stream."""


class EventLog:
    """Appends events to the stream; each line is on its way to the disk when `emit` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mend(self) -> None:
        """End a line that a crash has cut off, so that the next one stands on its own."""
        with self.path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read() != b"\n":
                    stream.write(b"\n")

    def emit(self, event: str, **fields: Any) -> None:
        line = without_credentials(json.dumps({"event": event, "time": time.time(), **fields}, default=str)) + "\n"
        # One write of one line, so that lines of several processes never mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_events(path: Path) -> Iterator[Event]:
    """Every complete event of a stream; a line that a crash cut off is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if (event := _parsed(line)) is not None:
                yield event


def live_events(events: Iterable[Event]) -> list[Event]:
    """The events that count: what a resumed run told anew replaces what it told before."""
    kept: list[Event] = []
    for event in events:
        if event["event"] == "start" and event.get("resumed_from") is not None:
            reached = event["resumed_from"]
            kept = [old for old in kept if not _after(old, reached)]
        kept.append(event)
    return kept


def _after(event: Event, step: int) -> bool:
    """Whether an event tells of a time after a step, or that the run had ended there."""
    return event["event"] in ("stop", "fail", "end") or (isinstance(event.get("step"), int) and event["step"] > step)


def _parsed(line: str) -> Event | None:
    if not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


class Follower:
    """Hands each new event of a growing stream to `receive`, from a thread of its own, until the block ends."""

    INTERVAL = 0.05

    def __init__(self, path: Path, receive: Callable[[Event], None]) -> None:
        self.path = path
        self.receive = receive
        self._position = path.stat().st_size if path.exists() else 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="training-hub-events", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            last = self._ended.wait(self.INTERVAL)
            if self.path.exists():
                with self.path.open("rb") as stream:
                    stream.seek(self._position)
                    new = stream.read()
                # A line is taken once it is whole, so a multi-byte character is never cut either.
                whole = new[: new.rfind(b"\n") + 1]
                self._position += len(whole)
                for line in whole.decode("utf-8", errors="replace").splitlines(keepends=True):
                    if (event := _parsed(line)) is not None:
                        self.receive(event)
            if last:
                return
