"""What several runs differ in, and how their losses went."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training_hub.reading.history import Series
from training_hub.reading.own_figures import own_figures
from training_hub.reading.record import RunRecord
from training_hub.store.figure import LOSS

ROWS = 12
"""Steps at which the losses are shown."""

Differences = Mapping[str, list[Any]]
"""Name to the value of each run, in order; None where a run has none."""


@dataclass(frozen=True)
class Comparison:
    """Several runs beside each other."""

    runs: Sequence[RunRecord]
    parameters: Differences
    versions: Differences
    circumstances: Differences
    """The rest of what ran: algorithm, backend, data, model, code, machine."""
    steps: list[int]
    losses: list[list[float | None]]
    """For each of the steps, the training loss of each run; None where a run has none."""
    outcomes: Mapping[str, list[Any]]
    """Final figures of each run."""


def compare(runs: Sequence[RunRecord], rows: int = ROWS) -> Comparison:
    """Compare runs."""
    steps = _steps([run.history.steps for run in runs], rows)
    return Comparison(
        runs,
        _differing(runs, _parameters),
        _differing(runs, lambda run: run.manifest.versions),
        _differing(runs, _circumstances),
        steps,
        [[_at(run.history.steps, step) for run in runs] for step in steps],
        _outcomes(runs),
    )


def _parameters(run: RunRecord) -> dict[str, Any]:
    # Every run has a directory of its own: that says nothing.
    return {name: value for name, value in run.manifest.parameters.items() if name != "ckpt_output_dir"} | (
        run.manifest.backend_kwargs
    )


def _circumstances(run: RunRecord) -> dict[str, Any]:
    parts = {
        f"{part}.{name}": value
        for part in ("data", "model", "git", "machine")
        for name, value in run.manifest.part(part).items()
    }
    return {"algorithm": run.algorithm, "backend": run.backend} | parts


def _differing(runs: Sequence[RunRecord], read: Callable[[RunRecord], Mapping[str, Any]]) -> dict[str, list[Any]]:
    said = [read(run) for run in runs]
    names = dict.fromkeys(name for values in said for name in values)
    values = {name: [entry.get(name) for entry in said] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _outcomes(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    best = [run.history.best_validation() for run in runs]
    units = [run.manifest.figures[LOSS.name].unit for run in runs]
    found: dict[str, list[Any]] = {
        "state": [run.state for run in runs],
        "steps": [run.history.reached for run in runs],
        "losses are in": units if len(set(units)) > 1 else [],
        "last loss": [run.history.steps.last("loss") for run in runs],
        "lowest validation loss": [entry[1] if entry else None for entry in best],
        "at step": [entry[0] if entry else None for entry in best],
        "tokens": [_whole(run.history.steps.last("tokens")) for run in runs],
        "seconds": [run.history.seconds for run in runs],
        **_own_outcomes(runs),
    }
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _own_outcomes(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Figures of the algorithms' own; one that two algorithms have in different units are two."""
    own = [own_figures(run.manifest.own_figures, run.history) for run in runs]
    found: dict[str, list[Any]] = {}
    for label in dict.fromkeys(each.figure.label for several in own for each in several):
        of_runs = [next((each for each in several if each.figure.label == label), None) for several in own]
        found |= {
            f"last {label}": [each.last if each else None for each in of_runs],
            f"last validation {label}": [each.validation if each else None for each in of_runs],
            f"best {label}": [each.best[1] if each and each.best else None for each in of_runs],
            f"best {label}, at step": [each.best[0] if each and each.best else None for each in of_runs],
        }
    return found


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None


def _steps(series: Sequence[Series], rows: int) -> list[int]:
    """Steps spread over the longest run, its first and every run's last among them."""
    told = sorted({step for one in series for step in one.steps})
    if not told:
        return []
    spread = {told[round(index * (len(told) - 1) / max(1, rows - 1))] for index in range(rows)}
    return sorted(spread | {one.steps[-1] for one in series if len(one)})


def _at(series: Series, step: int) -> float | None:
    """The loss at a step, or, where that one was not told, at the one told before it; None past the run's end."""
    if not len(series) or step > series.steps[-1]:
        return None
    index = bisect_right(series.steps, step) - 1
    return series["loss"][index] if index >= 0 else None
