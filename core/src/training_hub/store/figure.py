"""What a figure of a run is: its unit, and whether less of it is better. Plots, reports and comparisons label it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure that steps or validations have; a validation's is named `validation_<name>`."""

    name: str
    """Its key in events."""
    unit: str = ""
    """As a person reads it: `nats a trained token`."""
    less_is_better: bool | None = None
    """None where neither is."""

    @property
    def label(self) -> str:
        """For an axis: name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


COMMON: tuple[Figure, ...] = (
    Figure("loss", "nats a trained token", less_is_better=True),
    Figure("learning_rate"),
    Figure("grad_norm", less_is_better=None),
    Figure("tokens", "tokens"),
    Figure("tokens_per_second", "tokens a second", less_is_better=False),
)
"""What every run tells of a step. An algorithm's own figure of the same name takes the place of one of these."""


def figures_by_name(own: Iterable[Figure]) -> dict[str, Figure]:
    """The common figures and an algorithm's own; of those of validations, too."""
    found = {figure.name: figure for figure in (*COMMON, *own)}
    of_validation = (figure for figure in found.values() if figure.less_is_better is not None)
    validation = [
        Figure(f"validation_{figure.name}", figure.unit, figure.less_is_better)
        for figure in of_validation
        if figure.name not in ("tokens_per_second",)
    ]
    return found | {figure.name: figure for figure in validation}


def written(own: Iterable[Figure]) -> dict[str, Any]:
    """An algorithm's own figures as a manifest holds them."""
    return {figure.name: {k: v for k, v in asdict(figure).items() if k != "name"} for figure in own}


def read(content: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures of a run by name, from what its manifest holds; what is damaged reads as if it were not there."""
    own = []
    for name, about in content.items():
        if isinstance(about, Mapping):
            unit, less = about.get("unit"), about.get("less_is_better")
            own.append(Figure(name, unit if isinstance(unit, str) else "", less if isinstance(less, bool) else None))
    return figures_by_name(own)
