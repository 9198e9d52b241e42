"""What TRL's losses of preference pairs need and depend on, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Loss: TypeAlias = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
    "sft",
]

SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Those that `label_smoothing` changes; TRL ignores it in the others."""
SORTED = ("aot", "aot_unpaired")
"""Those that sort the pairs of a forward pass, and compare places."""
NATS = ("sigmoid", "robust", "nca_pair", "bco_pair", "aot", "aot_unpaired", "sigmoid_norm")
"""Those that are cross-entropies of the preference."""


def losses(values: Mapping[str, Any]) -> list[str]:
    """The losses that `loss_type` names, one or several."""
    named = values["loss_type"]
    return [named] if isinstance(named, str) else list(named)
