"""Curves of several runs over one axis, ready to be drawn by whatever draws."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from training_hub.errors import ParameterError
from training_hub.reading.history import History, points
from training_hub.reading.sources import source
from training_hub.reading.thinning import Point, averaged, thinned

Against: TypeAlias = Literal["steps", "tokens", "time"]

_COLUMNS = {"steps": "steps", "tokens": "tokens", "time": "seconds"}
TITLES = {"steps": "step", "tokens": "trained tokens", "time": "training time, {unit}"}
EMA = 0.9
"""The weight of what came before where smoothing is asked for without one."""


@dataclass(frozen=True)
class LossCurves:
    """The losses of one run."""

    label: str
    training: list[Point]
    smooth: list[Point] | None
    """The moving average of the training loss, where one is asked for."""
    validation: list[Point]


def loss_curves(
    paths: Sequence[str | os.PathLike[str]],
    *,
    labels: Sequence[str] | None = None,
    ema: float | bool | None = None,
    against: Against = "steps",
) -> list[LossCurves]:
    """The losses of several runs.

    Raises:
        ParameterError: The arguments do not fit together, or a run has no figures of the kind asked for.
        RunNotFoundError, RunFormatError: A run cannot be read.
    """
    if against not in get_args(Against):
        raise ParameterError(f"against={against!r}: it must be one of {', '.join(get_args(Against))}")
    if not paths:
        raise ParameterError("no run was given to plot")
    if labels is not None and len(labels) != len(paths):
        raise ParameterError(f"labels: there are {len(labels)} for {len(paths)} run{'s' if len(paths) > 1 else ''}")
    weight = smoothing(ema)
    found = [source(path) for path in paths]
    names = list(labels) if labels is not None else _distinct([(entry.name, str(entry.path)) for entry in found])
    return [
        _losses(name, str(entry.path), entry.history, weight, against) for name, entry in zip(names, found, strict=True)
    ]


def smoothing(ema: float | bool | None) -> float | None:
    """The weight that `ema` stands for; None for no smoothing.

    Raises:
        ParameterError: It is out of bounds.
    """
    if ema is None or ema is False:
        return None
    weight = EMA if ema is True else float(ema)
    if not 0 <= weight < 1:
        raise ParameterError(f"ema={ema}: it must be at least 0 and below 1; {EMA} smooths over about ten steps")
    return weight or None


def _losses(label: str, path: str, history: History, weight: float | None, against: Against) -> LossCurves:
    column, steps, evaluations = _COLUMNS[against], history.steps, history.evaluations
    if not len(steps) and not len(evaluations):
        raise ParameterError(f"{path}: it tells of no loss yet")
    if not _tells(history, against):
        raise ParameterError(f"{path}: it does not tell of {against}; plot it against steps")
    smooth = averaged(points(steps, "loss", column), weight) if weight else None
    return LossCurves(
        label,
        thinned(points(steps, "loss", column), len(steps)),
        None if smooth is None else thinned(smooth, len(steps)),
        thinned(points(evaluations, "validation_loss", column), len(evaluations)),
    )


def _tells(history: History, against: Against) -> bool:
    match against:
        case "steps":
            return True
        case "tokens":
            return history.steps.last("tokens") is not None
        case "time":
            return any(history.steps["seconds"])


def _distinct(names: list[tuple[str, str]]) -> list[str]:
    """Short names; those that several runs share give way to whole paths."""
    short = [name for name, _ in names]
    return [path if short.count(name) > 1 else name for name, path in names]
