"""The functions that most people call; `api.pyi` beside it, made from the declarations, shows them to editors."""

from __future__ import annotations

from typing import Any

from training_hub.algorithms.base import Algorithm
from training_hub.algorithms.lora_sft import LoRASFTAlgorithm
from training_hub.algorithms.osft import OSFTAlgorithm
from training_hub.algorithms.sft import SFTAlgorithm
from training_hub.parameters.declaration import declared, merged
from training_hub.parameters.description import docstring, signature
from training_hub.plugins.discovery import builtin_trackers
from training_hub.plugins.selection import create_algorithm
from training_hub.reading.log_lines import visible

__all__ = ["create_algorithm", "lora_sft", "osft", "sft"]


def _function(algorithm: type[Algorithm]) -> Any:
    """The function of an algorithm, with the signature and docstring that its declarations make."""

    def train(*args: Any, **given: Any) -> Any:
        values = algorithm.by_name(args, given)
        backend = values.pop("backend", None)
        with visible():
            return create_algorithm(algorithm.name, backend).train(**values)

    own = declared(algorithm.parameters, algorithm.defaults)
    shown = merged(own, *(declared(tracker.parameters, {}) for tracker in builtin_trackers()))
    train.__name__ = train.__qualname__ = algorithm.name
    train.__signature__ = signature(shown, algorithm.positional)  # type: ignore[attr-defined]
    train.__doc__ = docstring(algorithm.__doc__ or "", shown)
    return train


sft = _function(SFTAlgorithm)
osft = _function(OSFTAlgorithm)
lora_sft = _function(LoRASFTAlgorithm)
