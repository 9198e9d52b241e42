"""What a run's events come to: its curves, and what else happened. Events of any number are folded as they pass."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

from training_hub.errors import RunFormatError
from training_hub.store.events import ENDINGS, SCHEMA, Event, number, resumed_from, whole
from training_hub.store.figure import LOSS, NO_FIGURES, Figure

LEAP = 86_400.0
"""Seconds between two events beyond which a clock was set rather than time has passed."""
LEARNING = ("loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "epoch")
"""Figures of a step that are kept; `seconds` is added: time in training, pauses between attempts left out."""
VALIDATION = ("validation_loss", "tokens", "epoch")


class Series:
    """Figures by step, in columns of machine numbers; a figure that is missing is NaN."""

    def __init__(self, names: Iterable[str]) -> None:
        self.steps = array("q")
        self.columns = {name: array("d") for name in (*names, "seconds")}

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, name: str) -> array[float]:
        return self.columns[name]

    def keep(self, names: Iterable[str]) -> None:
        """Keep these figures, too, from now on."""
        for name in names:
            self.columns.setdefault(name, array("d", [math.nan]) * len(self))

    def add(self, step: int, figures: Mapping[str, float | None]) -> None:
        self.steps.append(step)
        for name, column in self.columns.items():
            value = figures.get(name)
            column.append(math.nan if value is None else value)

    def cut(self, step: int) -> None:
        """Forget what comes after a step."""
        if not self.steps or max(self.steps) <= step:
            return
        self.columns = {
            name: array("d", compress(column, (at <= step for at in self.steps)))
            for name, column in self.columns.items()
        }
        self.steps = array("q", (at for at in self.steps if at <= step))

    def first(self, name: str) -> float | None:
        """The oldest value of a figure that was told."""
        return next((value for value in self.columns[name] if not math.isnan(value)), None)

    def last(self, name: str) -> float | None:
        """The newest value of a figure that was told."""
        return next((value for value in reversed(self.columns[name]) if not math.isnan(value)), None)

    def best(self, name: str, *, less_is_better: bool) -> tuple[int, float] | None:
        """Step and value of a figure where it is best, the first of several; what is no number does not count."""
        sign = 1 if less_is_better else -1
        told = zip(self.steps, self.columns[name], strict=True)
        found = min(((sign * value, step) for step, value in told if math.isfinite(value)), default=None)
        return (found[1], sign * found[0]) if found else None


@dataclass
class Warned:
    """A warning, and how many times it was given."""

    message: str
    step: int | None
    """The first at which it was given; None where it belongs to none."""
    times: int = 1


class History:
    """The fold of a stream. It takes about 70 bytes a step, however much the framework told besides."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        """Args:
        own: Figures of the algorithm's own, by name, which are kept besides; 8 bytes a step each.
        """
        self.steps = Series(LEARNING)
        """Steps whose loss was told."""
        self.evaluations = Series(VALIDATION)
        self.reached: int | None = None
        """The last step, told with figures or without."""
        self.max_steps: int | None = None
        self.starts: list[Event] = []
        self.saves: list[Event] = []
        self.samples: list[Event] = []
        self.warnings: dict[str, Warned] = {}
        self.endings: list[Event] = []
        """`stop`, `fail` and `end` of the newest attempt."""
        self.first_time: float | None = None
        self.last_time: float | None = None
        """When the first and the newest event happened, by the clock of the machine that trained."""
        self._clock: float | None = None
        self._seconds = 0.0
        self.keep(own)

    def keep(self, own: Iterable[str]) -> None:
        """Keep figures of the algorithm's own, by name, from now on."""
        names = [name for name in own if name not in NO_FIGURES]
        self.steps.keep(names)
        self.evaluations.keep(Figure(name).of_validation().name for name in names)

    def receive(self, event: Event) -> None:
        """Take note of the next event.

        Raises:
            RunFormatError: A newer version wrote the stream.
        """
        if event["event"] == "start":
            self._start(event)
        self._pass_time(event)
        step = _step(event)
        match event["event"]:
            case "step" if step is not None:
                self._step(step, event)
            case "eval" if step is not None:
                self._evaluation(step, event)
            case "save":
                self.saves.append(event)
            case "samples":
                self.samples.append(event)
            case "warning":
                self._warn(str(event.get("message", "")), step)
            case kind if kind in ENDINGS:
                self.endings.append(event)

    @property
    def ended(self) -> bool:
        """Whether the newest attempt has told of its end."""
        return any(event["event"] in ("fail", "end") for event in self.endings)

    @property
    def seconds(self) -> float:
        """Time in training, up to the newest event."""
        return self._seconds

    def ending(self, kind: str) -> Event | None:
        """The newest `stop`, `fail` or `end`."""
        return next((event for event in reversed(self.endings) if event["event"] == kind), None)

    def resumptions(self) -> list[int]:
        """The steps from which training went on."""
        return [step for event in self.starts if (step := resumed_from(event)) is not None]

    def best_validation(self) -> tuple[int, float] | None:
        """Step and value of the lowest validation loss."""
        return self.evaluations.best("validation_loss", less_is_better=True)

    def _start(self, event: Event) -> None:
        schema = event.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise RunFormatError(
                f"its events are of schema {schema} and this version of training-hub reads up to {SCHEMA}; "
                f"pip install --upgrade training-hub"
            )
        if (step := resumed_from(event)) is not None:
            self._go_back(step)
        self.starts.append(event)
        self.max_steps = whole(event, "max_steps") or self.max_steps

    def _go_back(self, step: int) -> None:
        self.steps.cut(step)
        self.evaluations.cut(step)
        self.saves = [event for event in self.saves if _until(event, step)]
        self.samples = [event for event in self.samples if _until(event, step)]
        self.warnings = {text: warned for text, warned in self.warnings.items() if (warned.step or 0) <= step}
        self.endings = []
        self.reached = min(self.reached, step) if self.reached is not None else None
        # The pause between two attempts, and the work that is done again, are no training time of what counts.
        self._clock = None
        self._seconds = self.steps["seconds"][-1] if self.steps else 0.0

    def _pass_time(self, event: Event) -> None:
        now = number(event, "time")
        if now is None or not math.isfinite(now):
            return
        if self._clock is not None and 0 < now - self._clock <= LEAP:
            self._seconds += now - self._clock
        self._clock = self.last_time = now
        self.first_time = now if self.first_time is None else self.first_time

    def _step(self, step: int, event: Event) -> None:
        self.reached = step
        self.max_steps = whole(event, "max_steps") or self.max_steps
        told = self._told(event, self.steps)
        if told["loss"] is not None:
            self.steps.add(step, told)

    def _evaluation(self, step: int, event: Event) -> None:
        told = self._told(event, self.evaluations)
        if any(told[name] is not None for name in told.keys() - {"epoch", "tokens", "seconds"}):
            self.evaluations.add(step, told | {"tokens": self.steps.last("tokens")})

    def _told(self, event: Event, series: Series) -> dict[str, float | None]:
        return {name: number(event, name) for name in series.columns} | {"seconds": self._seconds}

    def _warn(self, message: str, step: int | None) -> None:
        if warned := self.warnings.get(message):
            warned.times += 1
            warned.step = None if warned.step is None or step is None else min(warned.step, step)
        elif len(self.warnings) < _MOST_WARNINGS:
            self.warnings[message] = Warned(message, step)


_MOST_WARNINGS = 1000
_MOST_STEPS = 1 << 62


def fold(events: Iterable[Event], own: Iterable[str] = ()) -> History:
    """The history that a stream tells.

    Args:
        events: The stream.
        own: Figures of the algorithm's own to keep, by name.
    """
    history = History(own)
    for event in events:
        history.receive(event)
    return history


def _step(event: Event) -> int | None:
    step = whole(event, "step")
    return step if step is not None and abs(step) < _MOST_STEPS else None


def _until(event: Event, step: int) -> bool:
    told = whole(event, "step")
    return told is None or told <= step


def points(series: Series, name: str, against: str) -> Iterator[tuple[float, float]]:
    """A curve: where a figure was told and what it was; `against` is `steps` or another figure."""
    across: Any = series.steps if against == "steps" else series[against]
    for x, y in zip(across, series[name], strict=True):
        if not math.isnan(x):
            yield x, y


def told_points(series: Series, name: str, against: str) -> Iterator[tuple[float, float]]:
    """The same where a figure was told; nothing of one that is not kept.

    Of a loss, what is no number was told, too, and leaves a gap in its curve.
    """
    gaps = name in (LOSS.name, LOSS.of_validation().name)
    kept = name in series.columns and name not in NO_FIGURES
    curve = points(series, name, against) if kept else iter(())
    return ((x, y) for x, y in curve if gaps or not math.isnan(y))
