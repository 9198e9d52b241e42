"""What a figure of a run is: its unit, and whether less of it is better. Plots, reports and comparisons label it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure that steps or validations have; a validation's is named `validation_<name>`."""

    name: str
    """Its key in events."""
    unit: str = ""
    """As a person reads it: `nats a token`."""
    less_is_better: bool | None = None
    """None where neither is."""

    @property
    def words(self) -> str:
        """Its name for a person."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """For an axis: name and unit."""
        return f"{self.words}, {self.unit}" if self.unit else self.words

    def of_validation(self) -> Figure:
        """The same figure, as validations have it."""
        return replace(self, name=f"validation_{self.name}")


LOSS = Figure("loss", "nats a token", less_is_better=True)
COMMON: tuple[Figure, ...] = (
    LOSS,
    Figure("learning_rate"),
    Figure("grad_norm"),
    Figure("tokens", "tokens"),
    Figure("tokens_per_second", "tokens a second", less_is_better=False),
)
"""What every run tells of a step. An algorithm's own figure of the same name takes the place of one of these."""

NO_FIGURES = frozenset({"event", "time", "step", "max_steps", "epoch", "framework", "seconds"})
"""Names that no figure has: events, or those who read them, have them for something else."""


def figures_by_name(own: Iterable[Figure]) -> dict[str, Figure]:
    """The common figures and an algorithm's own; of those of validations, too."""
    own = tuple(own)
    found = {figure.name: figure for figure in (*COMMON, *own)}
    validated = (found[name].of_validation() for name in (LOSS.name, *(figure.name for figure in own)))
    return found | {figure.name: figure for figure in validated}


def of_its_own(declared: Iterable[Figure]) -> tuple[Figure, ...]:
    """Those of an algorithm's figures that other algorithms have not; the rest says another unit of a common one."""
    common = {figure.name for figure in COMMON}
    return tuple(figure for figure in declared if figure.name not in common)


def written(own: Iterable[Figure]) -> dict[str, Any]:
    """An algorithm's own figures as a manifest holds them."""
    return {figure.name: {k: v for k, v in asdict(figure).items() if k != "name"} for figure in own}


def read(content: Mapping[str, Any]) -> tuple[Figure, ...]:
    """What `written` wrote; what is damaged reads as if it were not there."""
    found = []
    for name, about in content.items():
        if isinstance(about, Mapping) and name not in NO_FIGURES:
            unit, less = about.get("unit"), about.get("less_is_better")
            found.append(Figure(name, unit if isinstance(unit, str) else "", less if isinstance(less, bool) else None))
    return tuple(found)
