"""Runs as plain data that JSON can hold."""

from __future__ import annotations

import math
from typing import Any

from training_hub.reading.comparison import Comparison
from training_hub.reading.history import Series
from training_hub.reading.own_figures import OwnFigure, own_figures
from training_hub.reading.record import RunRecord


def summary(run: RunRecord) -> dict[str, Any]:
    """What a list shows of a run."""
    best = run.history.best_validation()
    return {
        "path": str(run.path),
        "state": run.state,
        "silent_since": run.silent_since,
        "algorithm": run.algorithm,
        "backend": run.backend,
        "model": run.manifest.model,
        "start": run.start,
        "end": run.manifest.time("end"),
        "step": run.history.reached,
        "max_steps": run.history.max_steps,
        "loss": finite(run.history.steps.last("loss")),
        "validation_loss": finite(run.history.evaluations.last("validation_loss")),
        "lowest_validation_loss": {"step": best[0], "value": best[1]} if best else None,
        "problem": run.damage or None,
    }


def details(run: RunRecord) -> dict[str, Any]:
    """All of a run: its manifest, and what its events come to."""
    history = run.history
    return summary(run) | {
        "seconds": history.seconds,
        "tokens": finite(history.steps.last("tokens")),
        "cause": run.cause if run.state in ("failed", "interrupted") else None,
        "resumed_from": history.resumptions(),
        "warnings": [vars(warned) for warned in history.warnings.values()],
        "checkpoints": [{"step": save.get("step"), "path": save.get("checkpoint")} for save in history.saves],
        "samples": history.samples,
        "figures": {own.figure.name: _figure(own) for own in own_figures(run.manifest.own_figures, history)},
        "training": columns(history.steps),
        "validation": columns(history.evaluations),
        "manifest": run.manifest.content,
    }


def _figure(own: OwnFigure) -> dict[str, Any]:
    return {
        "unit": own.figure.unit,
        "less_is_better": own.figure.less_is_better,
        "first": finite(own.first),
        "last": finite(own.last),
        "last_validation": finite(own.validation),
        "best": {"of": own.best_of.name, "step": own.best[0], "value": own.best[1]} if own.best else None,
    }


def columns(series: Series) -> dict[str, list[Any]]:
    """A series by column; what was not told, and what is no number, is null."""
    return {"step": list(series.steps)} | {name: [finite(v) for v in column] for name, column in series.columns.items()}


def compared(found: Comparison) -> dict[str, Any]:
    """A comparison."""
    return {
        "runs": [summary(run) for run in found.runs],
        "parameters": dict(found.parameters),
        "versions": dict(found.versions),
        "circumstances": dict(found.circumstances),
        "outcomes": {name: [finite(value) for value in values] for name, values in found.outcomes.items()},
        "losses": {"step": found.steps, "loss": [[finite(value) for value in row] for row in found.losses]},
    }


def finite(value: Any) -> Any:
    """The value; null for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
