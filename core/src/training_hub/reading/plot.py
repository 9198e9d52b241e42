"""Losses and other figures of runs as a picture, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.errors import ExtraMissingError, ParameterError
from training_hub.reading.curves import TITLES, Against, RunCurves, run_curves
from training_hub.reading.thinning import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
COLOURS = ("#2a78c8", "#d9622b", "#2e9e6b", "#8a5cc2", "#c23f78", "#8c7a1f", "#3a9fb0", "#6b6b6b")
"""Told apart by people who see few colours, on white and on dark."""


def plot_loss(
    runs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    figure: str = "loss",
    labels: Sequence[str] | None = None,
    ema: float | bool | None = None,
    against: Against = "steps",
    output: str | os.PathLike[str] | None = None,
) -> Figure:
    """Plot the training and validation losses of one or several runs, or another figure of theirs.

    Args:
        runs: Directories of runs, or metrics files that a framework wrote without the hub (or directories that hold
            one): `training_params_and_metrics_global0.jsonl`, `training_metrics_0.jsonl`, `trainer_state.json`.
        figure: What to plot: `loss`, or another figure that the runs tell of, such as `learning_rate` or one of the
            algorithm's own.
        labels: A name for each run; by default the directory's.
        ema: Smooth the training's curve by an exponential moving average: True, or the weight of what came before (0 to
            1). The values themselves stay visible, faint.
        against: `steps`, `tokens` (trained so far) or `time` (in training, without pauses between attempts).
        output: Where to write it: a .png or .svg file.

    Returns:
        The figure of matplotlib, to go on with.

    Raises:
        RunNotFoundError: There is no run at a path.
        RunFormatError: A run cannot be read.
        ParameterError: The arguments do not fit together, or a run does not tell of the figure.
        ExtraMissingError: matplotlib is not installed.
    """
    target = _target(output)
    paths = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    picture = _empty()
    _fill(picture, run_curves(paths, figure=figure, labels=labels, ema=ema, against=against), against)
    if target:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.savefig(target, dpi=150)
        except OSError as error:
            raise ParameterError(f"{target} cannot be written: {error.strerror or error}") from error
    return picture


def _target(output: str | os.PathLike[str] | None) -> Path | None:
    target = Path(output) if output is not None else None
    if target and target.suffix.lower() not in FORMATS:
        raise ParameterError(f"{target}: a plot is written as .png or .svg; end the name with one of them")
    return target


def _empty() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExtraMissingError(
            f'plots are drawn by matplotlib, which cannot be imported ({error}); pip install "training-hub[plot]"'
        ) from error
    # Not pyplot: it keeps every figure, and chooses a window system.
    return Figure(figsize=(8, 4.8), layout="constrained")


def _fill(picture: Figure, curves: Sequence[RunCurves], against: Against) -> None:
    axes = picture.add_subplot()
    # One axis may stand for several units: what one algorithm counts by tokens another one counts by rows.
    alike = len({curve.figure.unit for curve in curves}) == 1
    scale, unit = _scale(curves) if against == "time" else (1.0, "")
    for index, curve in enumerate(curves):
        _draw(axes, curve, COLOURS[index % len(COLOURS)], scale, "" if alike else curve.figure.unit)
    axes.set_xlabel(TITLES[against].format(unit=unit))
    axes.set_ylabel(_plain(curves[0].figure.label if alike else curves[0].figure.words))
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _draw(axes: Any, curve: RunCurves, colour: str, scale: float, unit: str) -> None:
    # An underscore at the beginning would hide the label from the legend.
    label = f" {curve.label}" if curve.label.startswith("_") else curve.label
    label = _plain(f"{label} ({unit})" if unit else label)
    shown = curve.training if curve.smooth is None else curve.smooth
    if curve.smooth is not None:
        axes.plot(*_columns(curve.training, scale), color=colour, linewidth=0.8, alpha=0.25)
    # A single point makes no line.
    marker = "o" if len(shown) == 1 else None
    axes.plot(*_columns(shown, scale), color=colour, linewidth=1.5, marker=marker, label=label)
    if curve.validation:
        axes.plot(
            *_columns(curve.validation, scale),
            color=colour,
            linewidth=1.2,
            linestyle="--",
            marker="o",
            markersize=4,
            label=f"{label}, validation",
        )


def _plain(text: str) -> str:
    # A dollar sign would begin a formula.
    return text.replace("$", r"\$")


def _columns(points: Sequence[Point], scale: float) -> tuple[list[float], list[float]]:
    return [x / scale for x, _ in points], [y for _, y in points]


def _scale(curves: Sequence[RunCurves]) -> tuple[float, str]:
    longest = max((x for curve in curves for x, _ in (*curve.training, *curve.validation)), default=0.0)
    for seconds, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if longest > 2 * seconds:
            return seconds, unit
    return 1.0, "seconds"
