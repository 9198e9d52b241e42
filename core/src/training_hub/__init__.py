"""Training Hub: one API over many frameworks that fine-tune language models.

from training_hub import sft, osft, lora_sft

sft(model_path="./model", data_path="./data.jsonl", ckpt_output_dir="./out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from training_hub.compat.names import OlderModules, attributes_of

if TYPE_CHECKING:
    from training_hub.algorithms.base import Algorithm
    from training_hub.algorithms.lora_sft import LoRASFTAlgorithm
    from training_hub.algorithms.osft import OSFTAlgorithm
    from training_hub.algorithms.sft import SFTAlgorithm
    from training_hub.api import create_algorithm, lora_sft, osft, sft
    from training_hub.backends.base import Availability, Backend, FrameworkBackend
    from training_hub.callbacks.builtin import EarlyStopping, LossSpike, SampleGenerations
    from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext, TrainingHubControl
    from training_hub.errors import TrainingFailedError, TrainingHubError, UserError
    from training_hub.plugins.hookspecs import hookimpl
    from training_hub.plugins.registry import AlgorithmRegistry
    from training_hub.reading.plot import plot_loss
    from training_hub.store.result import TrainingResult

# Names are imported when they are first used, so that `import training_hub` costs next to nothing.
_HOMES = {
    "Algorithm": "training_hub.algorithms.base",
    "AlgorithmRegistry": "training_hub.plugins.registry",
    "Availability": "training_hub.backends.base",
    "Backend": "training_hub.backends.base",
    "EarlyStopping": "training_hub.callbacks.builtin",
    "FrameworkBackend": "training_hub.backends.base",
    "LoRASFTAlgorithm": "training_hub.algorithms.lora_sft",
    "LossSpike": "training_hub.callbacks.builtin",
    "OSFTAlgorithm": "training_hub.algorithms.osft",
    "SFTAlgorithm": "training_hub.algorithms.sft",
    "SampleGenerations": "training_hub.callbacks.builtin",
    "TrainingFailedError": "training_hub.errors",
    "TrainingHubCallback": "training_hub.callbacks",
    "TrainingHubContext": "training_hub.callbacks",
    "TrainingHubControl": "training_hub.callbacks",
    "TrainingHubError": "training_hub.errors",
    "TrainingResult": "training_hub.store.result",
    "UserError": "training_hub.errors",
    "create_algorithm": "training_hub.api",
    "hookimpl": "training_hub.plugins.hookspecs",
    "lora_sft": "training_hub.api",
    "merge_default_callbacks": "training_hub.compat.functions",
    "osft": "training_hub.api",
    "plot_loss": "training_hub.reading.plot",
    "sft": "training_hub.api",
    "welcome": "training_hub.compat.functions",
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
    "TrainingHubControl",
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
    from training_hub.plugins.catalog import CLASSES

    if home := _HOMES.get(name) or ("training_hub.plugins.classes" if name in CLASSES else None):
        return getattr(import_module(home), name)
    return attributes_of(__name__)(name)


def __dir__() -> list[str]:
    return sorted(__all__)


OlderModules.install()
