"""The event stream of a run: `events.jsonl`, one JSON object a line, written by the run and read by everything else.

Every event has `event` (its kind), `time` (seconds since the epoch) and the fields of its kind:

- `start`: `schema` (the version of this list), `algorithm`, `backend`, `rows`, `max_steps`, `num_epochs`, `world_size`,
  `effective_batch_size`, `resumed_from` (the step whose checkpoint training goes on from; None at a beginning)
- `step`: after each optimizer step: `step`, `max_steps`, `epoch`, `loss` (nats a trained token over the effective
  batch, where the manifest's `figures` say nothing else), `learning_rate`, `grad_norm`, `tokens` (trained so far, all
  processes), `tokens_per_second`, the algorithm's own figures by name, `framework` (the framework's own, whole); where
  a step's figures are not logged, only `step`, `max_steps` and `epoch`
- `eval`: `step`, `epoch`, `validation_loss` (in the unit of the loss), and as `validation_<name>` the algorithm's own
- `save`: `step`, `checkpoint` (a directory; the event comes when it is complete)
- `protection`: what `osft` protects, told before anything is split: `share` (of the weights in matrices of the layers,
  embeddings and head aside) and `kinds` (by kind of module, as numbers of weights: `trained`, `protected`, `in_layers`)
- `epoch`: `epoch` (passes over the rows done, a whole number), `step`
- `warning`: `message`
- `samples`: `step`, `samples` (a list of `prompt` and `completion`): what the model said at that step
- `ask`: `step`, `rank`, `what` (`stop` with `reason`, `save`, `set_learning_rate` with `value`): what a callback on the
  ranks asks of the run; the caller's process sees to it
- `callback_error`: `step`, `rank`, `callback`, `hook`, `error`, `message`, `traceback`: what a callback on the ranks
  raised
- `stop`: `step`, `reason`: training ends before its last step because somebody asked for it
- `fail`: `error`, `message`
- `end`: `state` (`completed` or `stopped`), `metrics`

A resumed run goes on in the same file: after a `start` with `resumed_from`, steps after that one are told anew, and
those told before it no longer count (`live_events`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from training_hub.store import serialization
from training_hub.store.redaction import without_credentials

Event: TypeAlias = dict[str, Any]

ENDINGS = ("stop", "fail", "end")
"""Kinds after which a run tells no step, unless it is resumed."""

_BEGINNING = '{"event": "'

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
        line = without_credentials(serialization.dumps({"event": event, "time": time.time(), **fields})) + "\n"
        rest = line.encode()
        # One write of one line, so that lines of several processes never mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            while rest:
                # Of what a full disk has no room for, a part may be written; the next try says why.
                rest = rest[os.write(descriptor, rest) :]
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
    """The events that count: what a resumed run told anew replaces what it told before.

    They are all held at once; `training_hub.reading.history` keeps of a long stream what its readers need.
    """
    kept: list[Event] = []
    for event in events:
        if (reached := resumed_from(event)) is not None:
            kept = [old for old in kept if not _after(old, reached)]
        kept.append(event)
    return kept


def resumed_from(event: Event) -> int | None:
    """The step from which a `start` goes on; None for a beginning and for every other event."""
    step = event.get("resumed_from")
    return step if event["event"] == "start" and isinstance(step, int) and not isinstance(step, bool) else None


def _after(event: Event, step: int) -> bool:
    """Whether an event tells of a time after a step, or that the run had ended there."""
    return event["event"] in ENDINGS or (isinstance(event.get("step"), int) and event["step"] > step)


def _parsed(line: str) -> Event | None:
    if not line.endswith("\n"):
        return None
    event = _decoded(line)
    begin = 0
    # A line that a crash cut off may be followed, on the same line, by the first event of the run that goes on.
    while event is None and (begin := line.find(_BEGINNING, begin + 1)) > 0:
        event = _decoded(line[begin:])
    return event


def _decoded(text: str) -> Event | None:
    try:
        event = serialization.loads(text)
    # A number of thousands of digits and arrays without end are no events either.
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def number(event: Event, name: str) -> float | None:
    """A field as a number; None when it is missing or something else."""
    value = event.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def whole(event: Event, name: str) -> int | None:
    """A field as a whole number; None when it is missing or something else."""
    value = number(event, name)
    return int(value) if value is not None and math.isfinite(value) else None


def moment(event: Event) -> float:
    """When the event happened."""
    value = number(event, "time")
    return value if value is not None and math.isfinite(value) else time.time()


class Tail:
    """Gives the events that were added to a stream since it was last asked, in blocks: a stream may be long."""

    BLOCK = 1 << 20

    def __init__(self, path: Path, *, last: int | None = None) -> None:
        """Follow a stream.

        Args:
            path: Its file, which need not be there yet.
            last: Begin so many bytes before its end, at the next whole line; by default at its beginning.
        """
        self.path = path
        self._position = 0 if last is None or not path.exists() else max(0, path.stat().st_size - last)
        self._file: int | None = None

    def replaced(self) -> bool:
        """Whether another stream has taken the place of the one read so far; it is then read from its beginning."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        # Inodes are used again; a stream only ever grows.
        new = self._file is not None and (status.st_ino != self._file or status.st_size < self._position)
        if new:
            self._position = 0
        self._file = status.st_ino
        return new

    def new(self) -> Iterator[Event]:
        """Every whole event after those given before; a line under way is left for the next time."""
        try:
            added = self.path.stat().st_size - self._position
        except FileNotFoundError:
            return
        # A look that finds nothing must cost nothing: training may want the processor.
        if added <= 0:
            return
        rest = b""
        with self.path.open("rb") as stream:
            stream.seek(self._position)
            while block := stream.read(min(self.BLOCK, added)):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._position += len(line) + 1
                    if (event := _parsed(line.decode("utf-8", errors="replace") + "\n")) is not None:
                        yield event


class Follower:
    """Hands each new event of a growing stream to `receive`, from a thread of its own, until the block ends."""

    INTERVAL = 0.1

    def __init__(self, path: Path, receive: Callable[[Event], None]) -> None:
        self.receive = receive
        self._tail = Tail(path, last=0)
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
            for event in self._tail.new():
                self.receive(event)
            if last:
                return
