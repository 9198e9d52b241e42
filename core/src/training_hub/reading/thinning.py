"""Long curves, made short enough to draw: spikes and ends stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

MOST = 2000
"""Points of a curve beyond which a picture gains nothing."""


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most about so many points: of each stretch the first, the lowest and the highest."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / max(1, most // 3))
    kept: list[Point] = []
    for begin in range(0, len(points), size):
        stretch = points[begin : begin + size]
        finite = [index for index, (_, y) in enumerate(stretch) if math.isfinite(y)]
        chosen = {0}
        if finite:
            chosen |= {min(finite, key=lambda i: stretch[i][1]), max(finite, key=lambda i: stretch[i][1])}
        kept += [stretch[index] for index in sorted(chosen)]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def averaged(points: Iterable[Point], weight: float) -> list[Point]:
    """The exponential moving average of a curve; its beginning is not drawn towards zero, and NaN is passed over.

    Args:
        points: The curve.
        weight: Of what came before, from 0 (no smoothing) to below 1.
    """
    total, mass = 0.0, 0.0
    smooth: list[Point] = []
    for x, y in points:
        if math.isfinite(y):
            total = weight * total + (1 - weight) * y
            mass = weight * mass + (1 - weight)
        if mass:
            smooth.append((x, total / mass))
    return smooth
