"""Long curves, made short enough to draw: spikes and ends stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

MOST = 2000
"""Points of a curve beyond which a picture gains nothing."""


def thinned(points: Iterable[Point], count: int, most: int = MOST) -> list[Point]:
    """At most about so many points: of each stretch the first, the lowest and the highest.

    Args:
        points: The curve; it is passed over once and never held whole.
        count: How many points it has, or a few more.
        most: How many to keep.
    """
    rest = iter(points)
    if count <= most:
        return list(rest)
    size = math.ceil(count / max(1, most // 3))
    kept: list[Point] = []
    last: Point | None = None
    while stretch := list(islice(rest, size)):
        finite = [index for index, (_, y) in enumerate(stretch) if math.isfinite(y)]
        chosen = {0}
        if finite:
            chosen |= {min(finite, key=lambda i: stretch[i][1]), max(finite, key=lambda i: stretch[i][1])}
        kept += [stretch[index] for index in sorted(chosen)]
        last = stretch[-1]
    return kept if last is None or kept[-1] == last else [*kept, last]


def averaged(points: Iterable[Point], weight: float) -> Iterator[Point]:
    """The exponential moving average of a curve; its beginning is not drawn towards zero, and NaN is passed over.

    Args:
        points: The curve.
        weight: Of what came before, from 0 (no smoothing) to below 1.
    """
    total, mass = 0.0, 0.0
    for x, y in points:
        if math.isfinite(y):
            total = weight * total + (1 - weight) * y
            mass = weight * mass + (1 - weight)
        if mass:
            yield x, total / mass
