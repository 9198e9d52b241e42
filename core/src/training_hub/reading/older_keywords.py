"""The keywords that `plot_loss` had in the older package, as those that it has now."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from training_hub.compat.deprecation import deprecated
from training_hub.errors import ParameterError, nearest
from training_hub.reading.curves import EMA
from training_hub.reading.foreign import own_name
from training_hub.reading.history import LEARNING, points
from training_hub.reading.record import is_run
from training_hub.reading.sources import Source, log_source, source

Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


class OlderKeywords(TypedDict, total=False):
    """What each is now stands in `_NOW`."""

    ckpt_output_dirs: Paths
    output_path: str | os.PathLike[str] | None
    ema_span: float
    metric_keys: Sequence[str] | None
    metrics_file: str | None


_NOW = {
    "ckpt_output_dirs": "runs=...",
    "output_path": "output=...",
    "ema_span": "ema=..., the weight of what came before: (span - 1) / (span + 1)",
    "metric_keys": "figure=..., by the hub's name of it",
    "metrics_file": "the file itself as one of runs",
}


def present(older: Mapping[str, Any], own: Sequence[str]) -> dict[str, Any]:
    """The older keywords that say something, each with a `DeprecationWarning`.

    Args:
        older: What was given besides the keywords of today.
        own: The keywords of today, for a message.

    Raises:
        TypeError: One is no keyword at all.
    """
    for name in older:
        if name not in _NOW:
            raise TypeError(f"plot_loss() has no keyword {name}{nearest(name, [*own, *_NOW])}")
        deprecated(f"plot_loss({name}=...) is a keyword of the older training_hub: give {_NOW[name]}")
    return {name: value for name, value in older.items() if value is not None}


def weight_of(span: float, ema: float | bool | None) -> float | bool | None:
    """The weight of what came before in an average of `span` steps; as in the older package only where `ema` is true.

    Raises:
        ParameterError: The span is below 1, or `ema` is a weight already.
    """
    if isinstance(span, bool) or not isinstance(span, int | float) or not span >= 1:
        raise ParameterError(f"ema_span={span!r}: expected a number of steps, at least 1; or give ema=, such as {EMA}")
    if not isinstance(ema, bool) and ema is not None:
        raise ParameterError(f"ema={ema!r} and ema_span={span!r} both say how to smooth: give ema alone")
    return (span - 1) / (span + 1) if ema else ema


def found_by(
    runs: Sequence[str | os.PathLike[str]], file: str | None, keys: Sequence[str] | None
) -> tuple[list[Source], str | None]:
    """What is at some paths, and which figure of it is meant.

    Args:
        runs: The paths.
        file: Name of the metrics file in each directory; a run of the hub's has its figures elsewhere.
        keys: Names of the figure in that file; of several the first that the first run tells of counts.

    Raises:
        ParameterError: The first run tells of none of the figures.
        RunNotFoundError, RunFormatError: A run cannot be read.
    """
    found = [
        source(path) if file is None or is_run(Path(path)) else log_source(Path(path) / file, keys or ())
        for path in runs
    ]
    if not keys or not found:
        return found, None
    # A file of its own kind may call its loss as it likes.
    names = [name if (name := own_name(key)) in LEARNING else "loss" for key in keys]
    told = (name for name in names if next(iter(points(found[0].history.steps, name, "steps")), None) is not None)
    if (figure := next(told, None)) is None:
        raise ParameterError(f"metric_keys={list(keys)!r}: {found[0].path} tells of none of them")
    return found, figure
