"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The means of as many stretches as there are columns; a stretch without a finite value is a gap."""
    count = min(width, len(values))
    edges = [round(column * len(values) / count) for column in range(count + 1)] if count else []
    means = [_mean(values[begin:end]) for begin, end in pairwise(edges)]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return " " * count
    low, high = min(finite), max(finite)
    return "".join(" " if mean is None else _bar(mean, low, high) for mean in means)


def _bar(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
