"""The event stream of a run: `events.jsonl`, one JSON object a line, written by the run and read by everything else.

Every event has `event` (its kind), `time` (seconds since the epoch) and the fields of its kind:

- `start`: `algorithm`, `backend`, `rows`, `max_steps`, `num_epochs`, `world_size`, `effective_batch_size`
- `step`: `step`, `max_steps`, `epoch`, `loss` (nats a trained token over the effective batch), `learning_rate`,
  `grad_norm`, `tokens` (trained so far, all processes), `tokens_per_second`
- `eval`: `step`, `validation_loss` (nats a trained token)
- `save`: `step`, `checkpoint`
- `warning`: `message`
- `fail`: `error`, `message`
- `end`: `metrics`
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]


class EventLog:
    """Appends events to the stream; each line is on its way to the disk when `emit` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def emit(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "time": time.time(), **fields}, default=str) + "\n"
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


def _parsed(line: str) -> Event | None:
    if not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


class Follower:
    """Hands each event of a growing stream to `receive`, from a thread of its own, until the block ends."""

    INTERVAL = 0.1

    def __init__(self, path: Path, receive: Callable[[Event], None]) -> None:
        self.path = path
        self.receive = receive
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
        position = 0
        while True:
            last = self._ended.wait(self.INTERVAL)
            if self.path.exists():
                with self.path.open("rb") as stream:
                    stream.seek(position)
                    new = stream.read()
                # A line is taken once it is whole, so a multi-byte character is never cut either.
                whole = new[: new.rfind(b"\n") + 1]
                position += len(whole)
                for line in whole.decode("utf-8", errors="replace").splitlines(keepends=True):
                    if (event := _parsed(line)) is not None:
                        self.receive(event)
            if last:
                return
