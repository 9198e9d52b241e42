"""Curves of several runs over one axis, ready to be drawn by whatever draws."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from training_hub.errors import ParameterError, nearest
from training_hub.reading.history import History, Series, told_points
from training_hub.reading.sources import Source, source
from training_hub.reading.thinning import Point, averaged, thinned
from training_hub.store.figure import LOSS, Figure

Against: TypeAlias = Literal["steps", "tokens", "time"]

_COLUMNS = {"steps": "steps", "tokens": "tokens", "time": "seconds"}
TITLES = {"steps": "step", "tokens": "tokens", "time": "training time, {unit}"}
EMA = 0.9
"""The weight of what came before where smoothing is asked for without one."""


@dataclass(frozen=True)
class RunCurves:
    """A figure of one run."""

    label: str
    figure: Figure
    training: list[Point]
    smooth: list[Point] | None
    """The moving average of the training's curve, where one is asked for."""
    validation: list[Point]


def run_curves(
    paths: Sequence[str | os.PathLike[str] | Source],
    *,
    figure: str = LOSS.name,
    labels: Sequence[str] | None = None,
    ema: float | bool | None = None,
    against: Against = "steps",
) -> list[RunCurves]:
    """A figure of several runs.

    Raises:
        ParameterError: The arguments do not fit together, or a run does not tell of the figure.
        RunNotFoundError, RunFormatError: A run cannot be read.
    """
    if against not in get_args(Against):
        raise ParameterError(f"against={against!r}: it must be one of {', '.join(get_args(Against))}")
    if not paths:
        raise ParameterError("no run was given to plot")
    if labels is not None and len(labels) != len(paths):
        raise ParameterError(f"labels: there are {len(labels)} for {len(paths)} run{'s' if len(paths) > 1 else ''}")
    weight = smoothing(ema)
    found = [path if isinstance(path, Source) else source(path) for path in paths]
    names = list(labels) if labels is not None else _distinct([(entry.name, str(entry.path)) for entry in found])
    return [_curves(name, entry, figure, weight, against) for name, entry in zip(names, found, strict=True)]


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


def _curves(label: str, run: Source, name: str, weight: float | None, against: Against) -> RunCurves:
    column, steps, evaluations = _COLUMNS[against], run.history.steps, run.history.evaluations
    figure = run.figures.get(name, Figure(name))
    validated = figure.of_validation().name
    if not _tells_of(steps, name) and not _tells_of(evaluations, validated):
        raise ParameterError(f"{run.path}: {_untold(run.history, name)}")
    if not _tells(run.history, against):
        raise ParameterError(f"{run.path}: it does not tell of {against}; plot it against steps")
    smooth = averaged(told_points(steps, name, column), weight) if weight else None
    return RunCurves(
        label,
        figure,
        thinned(told_points(steps, name, column), len(steps)),
        None if smooth is None else thinned(smooth, len(steps)),
        thinned(told_points(evaluations, validated, column), len(evaluations)),
    )


def _tells_of(series: Series, name: str) -> bool:
    return next(told_points(series, name, "steps"), None) is not None


def _untold(history: History, name: str) -> str:
    told = [other for other in history.steps.columns if _tells_of(history.steps, other)]
    if not told:
        return f"it tells of no {name} yet"
    return f"it does not tell of {name!r}{nearest(name, told)}; it tells of: {', '.join(told)}"


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
