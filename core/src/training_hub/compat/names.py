"""Names and modules of the older package: one table says where each is now, or what to use instead.

Modules that are no more are found by `OlderModules`, last of all finders; those that still are ask `attributes_of`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from training_hub.compat.deprecation import deprecated

HUB = "training_hub"

MOVED: Mapping[str, Sequence[str]] = {
    "algorithms": ("AlgorithmRegistry", "Backend", "create_algorithm"),
    "algorithms.sft": ("AlgorithmRegistry", "Backend", "InstructLabTrainingSFTBackend", "sft"),
    "algorithms.osft": ("AlgorithmRegistry", "Backend", "MiniTrainerOSFTBackend", "osft"),
    "algorithms.lora": (
        *("Algorithm", "AlgorithmRegistry", "Backend", "LoRASFTAlgorithm", "SFTAlgorithm", "UnslothLoRABackend"),
        "lora_sft",
    ),
    "callbacks": ("TrainingHubControl", "merge_default_callbacks"),
    "hub_core": ("welcome",),
    "visualization": ("plot_loss",),
}
"""By module below the package: what it had and has no more, for that is to be imported from `training_hub`."""

_REINFORCEMENT = (
    "reinforcement learning is not among this package's algorithms (sft, osft, lora_sft; dpo with the trl backend): "
    "call art or verl directly, or keep the older package in an environment of its own"
)
_PROMPTS = "optimising prompts is not training: call the package gepa, or MLflow's optimisers of prompts, directly"
_EMBEDDINGS = "embedding models are not trained here: call sentence-transformers directly"
_ESTIMATE = (
    "memory and time are not estimated: bound them by max_tokens_per_gpu, `training-hub plan` shows what a run does, "
    "and each step's event has the tokens a second"
)
_SAVES = (
    "every run saves a checkpoint on SIGTERM by itself, and resume=True goes on from it: leave the callback out, and "
    "give resume=True"
)
_STORAGE = (
    "checkpoints are written to ckpt_output_dir alone: mount the storage there, or copy context.checkpoint in the "
    "on_save of a callback"
)
_DATA = "rows are read in every form by the hub itself; `training-hub plan` checks them"
_INSIDE = "it was a part of the older package's inside; callbacks go to callbacks=, as they are"

ABSENT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("lora_grpo", "grpo", "LoRAGRPOAlgorithm", "ARTLoRAGRPOBackend", "VeRLLoRAGRPOBackend", "ITSRollout"),
            *("tool_call_reward", "binary_reward", "algorithms.lora_grpo", "algorithms.lora_grpo_verl"),
            *("algorithms.its_rollout", "algorithms.rewards", "algorithms.verl_tool_agent"),
        ),
        _REINFORCEMENT,
    ),
    **dict.fromkeys(("gepa", "GEPAAlgorithm", "GEPABackend", "MLflowGEPABackend", "algorithms.gepa"), _PROMPTS),
    **dict.fromkeys(
        ("embedding_sft", "EmbeddingSFTAlgorithm", "SentenceTransformersBackend", "algorithms.embedding_sft"),
        _EMBEDDINGS,
    ),
    **dict.fromkeys(
        (
            *("BasicEstimator", "OSFTEstimator", "OSFTEstimatorExperimental", "LoRAEstimator", "QLoRAEstimator"),
            *("estimate", "profiling"),
        ),
        _ESTIMATE,
    ),
    **dict.fromkeys(("JITCheckpointCallback", "jit_checkpoint"), _SAVES),
    **dict.fromkeys(("RemoteCheckpointSyncCallback", "checkpoint_manager", "checkpoint_utils"), _STORAGE),
    **dict.fromkeys(
        ("PEFTExtender", "LoRAPEFTExtender", "get_lora_parameters", "apply_lora_defaults", "algorithms.peft_extender"),
        "the adapter's parameters are those of lora_sft: create_algorithm('lora_sft').get_optional_params()",
    ),
    "JSONLLoggingCallback": "every run writes its figures by itself; a TrainingHubCallback is told of them in on_log",
    "utils": _DATA,
    "adapters": _INSIDE,
}
"""What is not here, by name or by module below the package: what to use instead."""


def absence(name: str) -> str | None:
    """Why a name, or a module below the package, of the older package is not here; None for anything else."""
    module, _, last = name.rpartition(".")
    found = ABSENT.get(name) or ABSENT.get(name.partition(".")[0]) or (ABSENT.get(last) if module in MOVED else None)
    return f"{name} of the older training_hub is not in this one: {found}" if found else None


def attributes_of(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that the older package had, too.

    What it had and is elsewhere comes with a `DeprecationWarning`, what is not here as an `AttributeError` that says
    what to use.
    """
    below = module.removeprefix(f"{HUB}.")

    def attribute(name: str) -> Any:
        if name in MOVED.get(below, ()):
            deprecated(f"{module}.{name} is now {HUB}.{name}: from {HUB} import {name}")
            return getattr(import_module(HUB), name)
        raise AttributeError(absence(name) or f"module {module!r} has no attribute {name!r}")

    return attribute


class OlderModules:
    """Finds modules that the older package had and this one has not, and refuses those with nothing in their place.

    `from training_hub import lora_grpo` asks for a module of that name once there is no such attribute, and is answered
    here as well: the import system keeps no text of an `AttributeError`.
    """

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        below = fullname.removeprefix(f"{HUB}.")
        if below == fullname:
            return None
        if said := absence(below):
            from training_hub.errors import OlderNameError

            raise OlderNameError(said)
        # As a package it is asked for a module of each name that it lacks, with which that name is answered.
        return ModuleSpec(fullname, cls, is_package=True) if below in MOVED else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        module.__getattr__ = attributes_of(module.__name__)  # type: ignore[method-assign]

    @classmethod
    def install(cls) -> None:
        """Take part in imports, last of all."""
        if cls not in sys.meta_path:
            sys.meta_path.append(cls)
