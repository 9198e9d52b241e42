"""A line chart as SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from training_hub.reading.thinning import Point

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 34
_NAME = 16
"""Room for the name of the vertical axis."""


@dataclass(frozen=True)
class Line:
    """A curve and how it is drawn: its class in the page's style, and whether its points are marked."""

    name: str
    points: Sequence[Point]
    style: str
    marked: bool = False


@dataclass(frozen=True)
class Size:
    """Of a chart in the page's own units, so that its letters are as large as the others."""

    width: int
    height: int
    ticks: int
    """About how many numbers stand along the horizontal axis."""


WIDE, SMALL = Size(960, 320, 10), Size(320, 200, 6)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def chart(title: str, lines: Sequence[Line], across: str, size: Size, marks: Sequence[float] = (), up: str = "") -> str:
    """Draw curves over one pair of axes.

    Args:
        title: What it shows, for those who do not see it.
        lines: The curves; points that are no numbers leave gaps.
        across: Name of the horizontal axis.
        size: Of the chart.
        marks: Where to draw vertical lines.
        up: Name of the vertical axis; by default it has none.

    Returns:
        An `svg` element; empty where there is nothing to draw.
    """
    finite = [point for line in lines for point in line.points if _finite(point)]
    if not finite:
        return ""
    left, right, bottom = _LEFT + (_NAME if up else 0), size.width - _RIGHT, size.height - _BOTTOM
    x = _axis([point[0] for point in finite], left, right, margin=0.0)
    y = _axis([point[1] for point in finite], bottom, _TOP, margin=0.05)
    parts = [
        *_grid(x, y, size),
        *_marks([mark for mark in marks if x.low <= mark <= x.high], x, bottom),
        *(part for line in lines for part in _curve(line, x, y)),
        f'<text x="{(right + left) / 2:.0f}" y="{size.height - 3}" text-anchor="middle">{escape(across)}</text>',
    ]
    if up:
        turned = f'transform="rotate(-90)" x="{-(bottom + _TOP) / 2:.0f}" y="{_NAME - 4}"'
        parts.append(f'<text {turned} text-anchor="middle">{escape(up)}</text>')
    box = f'viewBox="0 0 {size.width} {size.height}"'
    return f'<svg {box} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two others."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _axis(values: Sequence[float], begin: float, end: float, margin: float) -> _Axis:
    low, high = min(values), max(values)
    # A curve of one value gets room around it; so does one whose extent is lost in rounding.
    room = (high - low) * margin if high > low else max(abs(low) * 0.1, 1e-9)
    low, high = low - room, high + room
    return _Axis(low, high, begin, end) if high > low and math.isfinite(high - low) else _Axis(low, low + 1, begin, end)


def _marks(marks: Sequence[float], x: _Axis, bottom: float) -> Iterator[str]:
    for mark in marks:
        at = x.place(mark)
        yield f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'


def _grid(x: _Axis, y: _Axis, size: Size) -> Iterator[str]:
    for value in ticks(y.low, y.high):
        at = y.place(value)
        yield f'<line class="grid" x1="{x.begin}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{x.begin - 7}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    for value in ticks(x.low, x.high, size.ticks):
        at = x.place(value)
        yield f'<text x="{at:.1f}" y="{size.height - _BOTTOM + 15}" text-anchor="middle">{_number(value)}</text>'


def _curve(line: Line, x: _Axis, y: _Axis) -> Iterator[str]:
    drawing = False
    path: list[str] = []
    for point in line.points:
        if _finite(point):
            path.append(f"{'L' if drawing else 'M'}{x.place(point[0]):.1f} {y.place(point[1]):.1f}")
        drawing = _finite(point)
    yield f'<path class="{line.style}" d="{"".join(path)}"/>'
    if line.marked or len(line.points) == 1:
        for point in filter(_finite, line.points):
            about = escape(f"{line.name} {point[1]:.4g} at {_number(point[0])}")
            yield (
                f'<circle class="{line.style}" cx="{x.place(point[0]):.1f}" cy="{y.place(point[1]):.1f}" r="3">'
                f"<title>{about}</title></circle>"
            )


def _finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.3g}"
