"""Training Hub: one API over many frameworks that fine-tune language models.

from training_hub import sft, osft, lora_sft

sft(model_path="./model", data_path="./data.jsonl", ckpt_output_dir="./out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_hub.algorithms.algorithm import Algorithm
    from training_hub.algorithms.lora_sft import LoRASFTAlgorithm, lora_sft
    from training_hub.algorithms.osft import OSFTAlgorithm, osft
    from training_hub.algorithms.sft import SFTAlgorithm, sft
    from training_hub.backend import Availability, Backend, FrameworkBackend
    from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
    from training_hub.callbacks.ready import EarlyStopping, LossSpike, SampleGenerations
    from training_hub.errors import TrainingFailedError, TrainingHubError, UserError
    from training_hub.hookspecs import hookimpl
    from training_hub.reading.plot import plot_loss
    from training_hub.registry import AlgorithmRegistry
    from training_hub.runs.result import TrainingResult
    from training_hub.selection import create_algorithm

# Names are imported when they are first used, so that `import training_hub` costs next to nothing.
_HOMES = {
    "Algorithm": "training_hub.algorithms.algorithm",
    "AlgorithmRegistry": "training_hub.registry",
    "Availability": "training_hub.backend",
    "Backend": "training_hub.backend",
    "EarlyStopping": "training_hub.callbacks.ready",
    "FrameworkBackend": "training_hub.backend",
    "LoRASFTAlgorithm": "training_hub.algorithms.lora_sft",
    "LossSpike": "training_hub.callbacks.ready",
    "OSFTAlgorithm": "training_hub.algorithms.osft",
    "SFTAlgorithm": "training_hub.algorithms.sft",
    "SampleGenerations": "training_hub.callbacks.ready",
    "TrainingFailedError": "training_hub.errors",
    "TrainingHubCallback": "training_hub.callbacks",
    "TrainingHubContext": "training_hub.callbacks",
    "TrainingHubError": "training_hub.errors",
    "TrainingResult": "training_hub.runs.result",
    "UserError": "training_hub.errors",
    "create_algorithm": "training_hub.selection",
    "hookimpl": "training_hub.hookspecs",
    "lora_sft": "training_hub.algorithms.lora_sft",
    "osft": "training_hub.algorithms.osft",
    "plot_loss": "training_hub.reading.plot",
    "sft": "training_hub.algorithms.sft",
}

__all__ = [
    "Algorithm",
    "AlgorithmRegistry",
    "Availability",
    "Backend",
    "EarlyStopping",
    "FrameworkBackend",
    "LoRASFTAlgorithm",
    "LossSpike",
    "OSFTAlgorithm",
    "SFTAlgorithm",
    "SampleGenerations",
    "TrainingFailedError",
    "TrainingHubCallback",
    "TrainingHubContext",
    "TrainingHubError",
    "TrainingResult",
    "UserError",
    "create_algorithm",
    "hookimpl",
    "lora_sft",
    "osft",
    "plot_loss",
    "sft",
]


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        return getattr(import_module(home), name)
    from training_hub.catalog import CLASSES

    if backend := CLASSES.get(name):
        return _backend_class(name, backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _backend_class(name: str, backend: str) -> Any:
    from training_hub import plugins
    from training_hub.catalog import install_command
    from training_hub.errors import PluginError

    if backend not in plugins.installed():
        raise PluginError(f"{name} comes with the backend {backend!r}: {install_command(backend)}")
    return plugins.load(backend).backends[backend]


def __dir__() -> list[str]:
    return sorted(__all__)
