"""Losses and other figures of runs as a picture, by matplotlib."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from training_hub.errors import ExtraMissingError, ParameterError
from training_hub.reading.curves import TITLES, Against, RunCurves, run_curves
from training_hub.reading.older_keywords import OlderKeywords, Paths, found_by, present, weight_of
from training_hub.reading.sources import Source
from training_hub.reading.thinning import Point

FORMATS = (".png", ".svg", ".pdf")
FILE = "loss_plot.png"
"""Where a plot is written that is given no other place: in the directory of the first run."""
COLOURS = ("#2a78c8", "#d9622b", "#2e9e6b", "#8a5cc2", "#c23f78", "#8c7a1f", "#3a9fb0", "#6b6b6b")
"""Told apart by people who see few colours, on white and on dark."""
_OWN = ("runs", "figure", "labels", "ema", "against", "output", "show")
logger = logging.getLogger("training_hub")


class Written:
    """What is written to a file, and stands for its path wherever one is taken."""

    path: Path | None = None
    """The file; None where it could not be written."""

    def __fspath__(self) -> str:
        if self.path is None:
            raise ParameterError("the plot could not be written beside the run, so that it has no path: give output=")
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path) if self.path else super().__str__()


if TYPE_CHECKING:
    from matplotlib.figure import Figure

    class LossPlot(Written, Figure):  # type: ignore[misc, unused-ignore]
        """A figure of matplotlib, to go on with, that stands for the path of its file wherever one is taken."""


def plot_loss(
    runs: Paths | None = None,
    *,
    figure: str = "loss",
    labels: Sequence[str] | None = None,
    ema: float | bool | None = None,
    against: Against = "steps",
    output: str | os.PathLike[str] | None = None,
    show: bool = False,
    **older: Unpack[OlderKeywords],
) -> LossPlot:
    """Plot the training and validation losses of one or several runs, or another figure of theirs.

    Args:
        runs: Directories of runs, or metrics files that a framework wrote without the hub (or directories that hold
            one): `training_params_and_metrics_global0.jsonl`, `training_metrics_0.jsonl`, `training_metrics.jsonl`,
            `trainer_state.json`.
        figure: What to plot: `loss`, or another figure that the runs tell of, such as `learning_rate` or one of the
            algorithm's own.
        labels: A name for each run; by default the directory's.
        ema: Smooth the training's curve by an exponential moving average: True, or the weight of what came before (0 to
            1). The values themselves stay visible, faint.
        against: `steps`, `tokens` (trained so far) or `time` (in training, without pauses between attempts).
        output: Where to write it: a .png, .svg or .pdf file; by default `loss_plot.png` in the first run's directory,
            where that can be written to.
        show: Show it, too, in a notebook or a window.
        **older: Keywords of the older package: `ckpt_output_dirs`, `output_path`, `ema_span`, `metric_keys`,
            `metrics_file`.

    Returns:
        The figure of matplotlib, to go on with; wherever a path is taken it stands for that of its file.

    Raises:
        RunNotFoundError: There is no run at a path.
        RunFormatError: A run cannot be read.
        ParameterError: The arguments do not fit together, or a run does not tell of the figure.
        ExtraMissingError: matplotlib is not installed.
    """
    given = present(older, _OWN)
    runs, output = _one("runs", runs, "ckpt_output_dirs", given), _one("output", output, "output_path", given)
    if runs is None:
        raise ParameterError("no run was given to plot: say which with runs, directories or metrics files")
    if "ema_span" in given:
        ema = weight_of(given["ema_span"], ema)
    target = _target(output)
    picture = _empty(show)
    paths = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    sources: Sequence[str | os.PathLike[str] | Source] = paths
    if given.keys() & {"metric_keys", "metrics_file"}:
        sources, meant = found_by(paths, given.get("metrics_file"), given.get("metric_keys"))
        figure = meant or figure
    _fill(picture, run_curves(sources, figure=figure, labels=labels, ema=ema, against=against), against)
    if target:
        _write(picture, target)
    else:
        first = Path(paths[0])
        try:
            _write(picture, (first if first.is_dir() else first.parent) / FILE)
        except ParameterError as error:
            logger.warning("%s; the plot has no file, give output=", error)
    if show:
        _show()
    return picture


def __getattr__(name: str) -> Any:
    # Pickled figures are looked up by this name.
    if name == "LossPlot":
        return _kind()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _one(name: str, value: Any, older: str, given: dict[str, Any]) -> Any:
    """The value that a keyword or its older name gives."""
    if value is not None and older in given:
        raise ParameterError(f"{name} and {older} are the same: give {name} alone")
    return given.get(older, value)


def _write(picture: LossPlot, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(target, dpi=150)
    except OSError as error:
        raise ParameterError(f"{target} cannot be written: {error.strerror or error}") from error
    picture.path = target


def _target(output: str | os.PathLike[str] | None) -> Path | None:
    target = Path(output) if output is not None else None
    if target and target.suffix.lower() not in FORMATS:
        raise ParameterError(
            f"{target}: a plot is written as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; end the name so"
        )
    return target


def _empty(show: bool) -> LossPlot:
    try:
        kind = _kind()
        if show:
            from matplotlib import pyplot

            shown: LossPlot = pyplot.figure(FigureClass=kind, figsize=(8, 4.8), layout="constrained")
            return shown
    except ImportError as error:
        raise ExtraMissingError(
            f'plots are drawn by matplotlib, which cannot be imported ({error}); pip install "training-hub[plot]"'
        ) from error
    # Not pyplot where nothing is to be shown: it keeps every figure, and chooses a window system.
    return kind(figsize=(8, 4.8), layout="constrained")


def _kind() -> type[LossPlot]:
    from matplotlib.figure import Figure

    return _written(Figure)


@cache
def _written(figure: type[Figure]) -> type[LossPlot]:
    return type("LossPlot", (Written, figure), {"__module__": __name__})


def _show() -> None:
    from matplotlib import pyplot

    pyplot.show()


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
