"""What is told to trackers, under the same names in each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from training_hub.store.events import Event, number, whole
from training_hub.store.figure import NO_FIGURES

FIGURES: Mapping[str, tuple[str, ...]] = {
    "step": ("loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch", "tokens"),
    "eval": ("validation_loss",),
}
"""Figures by the kind of event that has them; those of an algorithm's own come behind them, under their own names."""
FRAMEWORK = "framework"
"""Figures of the framework's own are named `framework/NAME`."""
FINAL = "final"
"""Figures of the whole run are named `final/NAME`."""


def parameters(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter that has a value, and what trains: backend, algorithm, versions."""
    given = {name: entry["value"] for name, entry in manifest["parameters"].items()} | manifest.get(
        "backend_kwargs", {}
    )
    found = given | {
        "algorithm": manifest["algorithm"],
        "backend": manifest["backend"],
        **{f"version/{name}": value for name, value in manifest["versions"].items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def text(value: Any) -> str:
    """A parameter's value as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def measured(event: Event) -> tuple[int, dict[str, float]] | None:
    """The step of an event and its figures; None for an event without."""
    step = whole(event, "step")
    names = FIGURES.get(event["event"])
    if step is None or names is None:
        return None
    own = (name for name in event if name not in NO_FIGURES)
    found = {name: number(event, name) for name in (*names, *own)}
    framework = event.get("framework")
    if isinstance(framework, Mapping):
        found |= {f"{FRAMEWORK}/{name}": number(dict(framework), name) for name in framework}
    figures = {name: value for name, value in found.items() if value is not None}
    return (step, figures) if figures else None


def final(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The final figures of a run."""
    found = {f"{FINAL}/{name}": number(dict(metrics), name) for name in metrics}
    return {name: value for name, value in found.items() if value is not None}
