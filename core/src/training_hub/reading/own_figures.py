"""Figures of an algorithm's own, as far as a run tells of them: how they went, and where they were best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training_hub.reading.figures import figure_text
from training_hub.reading.history import History
from training_hub.store.figure import Figure, of_its_own


@dataclass(frozen=True)
class OwnFigure:
    """A figure of which at least one step or validation told."""

    figure: Figure
    first: float | None
    """Of the steps."""
    last: float | None
    """Of the steps."""
    validation: float | None
    """The last one."""
    best: tuple[int, float] | None
    """Step and value: of validations where they tell of it, else of steps; None where neither more nor less is
    better."""

    @property
    def best_of(self) -> Figure:
        """What `best` is of."""
        return self.figure if self.validation is None else self.figure.of_validation()


def own_figures(declared: Iterable[Figure], history: History) -> list[OwnFigure]:
    """Those of an algorithm's figures, the common ones left out, that a run tells of."""
    found = (_of(figure, history) for figure in of_its_own(declared))
    return [own for own in found if own.last is not None or own.validation is not None]


def _of(figure: Figure, history: History) -> OwnFigure:
    steps, evaluations, validated = history.steps, history.evaluations, figure.of_validation().name
    validation = evaluations.last(validated)
    series, name = (steps, figure.name) if validation is None else (evaluations, validated)
    less = figure.less_is_better
    best = None if less is None else series.best(name, less_is_better=less)
    return OwnFigure(figure, steps.first(figure.name), steps.last(figure.name), validation, best)


def values_text(own: OwnFigure) -> str:
    """How a figure went, for a person."""
    parts = []
    if own.first is not None and own.last is not None:
        parts.append(f"{figure_text(own.first)} at first, {figure_text(own.last)} at last")
    if own.validation is not None:
        parts.append(f"{figure_text(own.validation)} at the last validation")
    if own.best is not None:
        step, value = own.best
        parts.append(f"{figure_text(value)} at best, at step {step}")
    return ", ".join(parts)
