"""The metrics files that platforms read a run's progress from, kept current beside the events.

OpenDataHub's progress server reads the last line of one file an algorithm, and the parameters besides; it deletes them
before it starts a run. So a run that goes on writes them anew, from its first step on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from training_hub.store import serialization
from training_hub.store.directory import METRICS, RunDirectory, write_json
from training_hub.store.events import Event, EventLog, moment, number, read_events, resumed_from, whole


class MetricsFiles:
    """Writes the metrics of a run's algorithm as its events come; none where no platform reads them."""

    def __init__(
        self, algorithm: str, parameters: Mapping[str, Any], directory: RunDirectory, events: EventLog
    ) -> None:
        """Args:
        algorithm: Of the run.
        parameters: Its parameters' values, without secrets.
        directory: The run's.
        events: Takes the warning where a file cannot be written.
        """
        self._form = _FORMS.get(algorithm)
        self._names = METRICS.get(algorithm, ())
        self._parameters = parameters
        self._directory = directory
        self._events = events
        self._progress = _Progress()
        self._failed = False

    @property
    def file(self) -> Path:
        """The one that has a line a step."""
        return self._directory.path / self._names[0]

    def receive(self, event: Event) -> None:
        """Take an event; never fails."""
        if self._form is None or self._failed:
            return
        try:
            if event["event"] == "start":
                self._begin(event)
            elif row := self._progress.row(event):
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write(self._line(row))
        except OSError as error:
            self._failed = True
            with suppress(OSError):
                self._events.emit("warning", message=f"{self.file} cannot be written any more: {error.strerror}")

    def _begin(self, start: Event) -> None:
        """Write what was told before, and no longer than to where the run goes on."""
        self._progress = _Progress()
        rows: list[_Step] = []
        for event in read_events(self._directory.events):
            if (reached := resumed_from(event)) is not None:
                rows = [row for row in rows if row.step <= reached]
                self._progress.go_on(event, rows[-1] if rows else None)
            elif event["event"] == "start":
                rows, self._progress = [], _Progress(event)
            elif row := self._progress.row(event):
                rows.append(row)
            if event == start:
                break
        config = self._progress.config(self._parameters)
        first = [serialization.dumps(config) + "\n"] if self._names[0].startswith("training_params") else []
        self.file.write_text("".join([*first, *map(self._line, rows)]), encoding="utf-8")
        for name in self._names[1:]:
            write_json(self._directory.path / name, config)

    def _line(self, row: _Step) -> str:
        assert self._form is not None
        # Who reads these knows no names for numbers that JSON has not.
        written = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self._form(row).items()
        }
        return serialization.dumps(written) + "\n"


@dataclass(frozen=True)
class _Step:
    """A step, in words that all files share."""

    step: int
    max_steps: int | None
    epoch: float
    """Passes over the rows, with the fraction."""
    steps_an_epoch: int
    time: float
    seconds: float
    """Of the step."""
    effective_batch_size: int
    rows: int
    figures: Mapping[str, float | None] = field(default_factory=dict)
    validation_loss: float | None = None

    @property
    def finished_epochs(self) -> int:
        """Of whole length, before this step."""
        return (self.step - 1) // self.steps_an_epoch if self.steps_an_epoch else 0

    @property
    def rows_a_second(self) -> float | None:
        return self.effective_batch_size / self.seconds if self.seconds > 0 else None

    @property
    def samples(self) -> int:
        return round(self.epoch * self.rows)


class _Progress:
    """What is known of a run from its events up to now."""

    def __init__(self, start: Event | None = None) -> None:
        self._start: Event = start or {"event": "start"}
        self._last: _Step | None = None
        self._at = moment(self._start)
        self._steps = 0
        self._pending = False

    def go_on(self, start: Event, last: _Step | None) -> None:
        """The run goes on in a further attempt, behind a step."""
        self._start, self._last, self._pending = start, last, False
        self._at, self._steps = moment(start), resumed_from(start) or 0

    @property
    def epochs(self) -> int:
        """Epochs of the run as readers count them: whole ones, all of the same number of steps."""
        most, epochs = whole(self._start, "max_steps"), number(self._start, "num_epochs")
        fits = most and epochs and epochs.is_integer() and most % int(epochs) == 0
        return int(epochs) if fits and epochs else 1

    @property
    def steps_an_epoch(self) -> int:
        return (whole(self._start, "max_steps") or 0) // self.epochs

    def config(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, with the run's length as readers multiply it."""
        length = {"num_epochs": self.epochs, "max_epochs": self.epochs, "num_batches": self.steps_an_epoch}
        return {**parameters, **length}

    def row(self, event: Event) -> _Step | None:
        """The line that an event makes; None where it makes none, as a step whose figures are not logged."""
        kind, step = event["event"], whole(event, "step")
        if kind == "step" and step is not None:
            return self._step(event, step)
        if kind == "eval" and self._last and (loss := number(event, "validation_loss")) is not None:
            return self._keep(replace(self._last, validation_loss=loss))
        if kind in ("end", "stop", "fail") and self._last and self._pending:
            return self._keep(self._last)
        return None

    def _step(self, event: Event, step: int) -> _Step | None:
        logged = "loss" in event
        figures = {name: number(event, name) for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second")}
        seconds = (moment(event) - self._at) / max(1, step - self._steps)
        row = _Step(
            step=step,
            max_steps=whole(event, "max_steps"),
            epoch=number(event, "epoch") or 0.0,
            steps_an_epoch=self.steps_an_epoch,
            time=moment(event),
            seconds=seconds,
            effective_batch_size=whole(self._start, "effective_batch_size") or 0,
            rows=whole(self._start, "rows") or 0,
            figures=figures if logged or not self._last else self._last.figures,
            validation_loss=self._last.validation_loss if self._last else None,
        )
        if not logged:
            self._last, self._pending = row, True
            return None
        self._at, self._steps = moment(event), step
        return self._keep(row)

    def _keep(self, row: _Step) -> _Step:
        self._last, self._pending = row, False
        return row


def _sft(row: _Step) -> dict[str, Any]:
    return {
        "step": row.step,
        "epoch": row.finished_epochs,
        "num_epoch_steps": row.steps_an_epoch,
        "avg_loss": row.figures["loss"],
        "lr": row.figures["learning_rate"],
        "gradnorm": row.figures["grad_norm"],
        "overall_throughput": row.rows_a_second or 0.0,
        "batch_size": row.effective_batch_size,
        "samples_seen": row.samples,
        "total_samples": row.rows,
        **({} if row.validation_loss is None else {"val_loss": row.validation_loss}),
        "timestamp": _moment(row),
    }


def _osft(row: _Step) -> dict[str, Any]:
    return {
        "step": row.step,
        "epoch": row.finished_epochs,
        "steps_per_epoch": row.steps_an_epoch,
        "time_per_batch": row.seconds,
        "loss": row.figures["loss"],
        "lr": row.figures["learning_rate"],
        "grad_norm": row.figures["grad_norm"],
        "samples_per_second": row.rows_a_second,
        "tokens_per_second": row.figures["tokens_per_second"],
        "total_samples_accumulated": row.samples,
        "val_loss": row.validation_loss,
        "timestamp": _moment(row),
    }


def _lora_sft(row: _Step) -> dict[str, Any]:
    return {
        "step": row.step,
        "epoch": row.epoch,
        "max_steps": row.max_steps,
        "loss": row.figures["loss"],
        "learning_rate": row.figures["learning_rate"],
        "grad_norm": row.figures["grad_norm"],
        **({} if row.validation_loss is None else {"eval_loss": row.validation_loss}),
    }


def _moment(row: _Step) -> str:
    return datetime.fromtimestamp(row.time).isoformat()


_FORMS: Mapping[str, Callable[[_Step], dict[str, Any]]] = {"sft": _sft, "osft": _osft, "lora_sft": _lora_sft}
