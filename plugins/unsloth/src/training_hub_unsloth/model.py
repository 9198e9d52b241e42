"""Loads the base model with Unsloth, and puts the adapter on it. Unsloth must have been imported."""

from __future__ import annotations

from typing import Any

import torch
from unsloth import DEVICE_TYPE, FastLanguageModel, FastVisionModel

from training_hub.plugin import Job, ModelError, ModelNotFoundError, ParameterError, router_losses_off
from training_hub_trl.adapters import checked_adapter
from training_hub_unsloth.vision import has_vision


def load_model(job: Job) -> Any:
    """The base model with a new adapter.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ModelError: Unsloth cannot train such a model here.
        ParameterError: See `checked_adapter`; or vision layers are asked for, and the model has none.
    """
    path, loading = job.parameters["model_path"], dict(job.arguments["from_pretrained"])
    adapter = {name: value for name, value in job.arguments["get_peft_model"].items() if value is not None}
    loading["dtype"] = getattr(torch, loading["dtype"])
    loading["use_gradient_checkpointing"] = adapter["use_gradient_checkpointing"]
    # Unsloth loads in 4 bits unless told otherwise.
    loading = {"load_in_4bit": False} | loading
    sees = has_vision(job)
    if sees and DEVICE_TYPE == "cpu":
        raise ModelError(f"model_path={path}: it is a vision-language model, which Unsloth trains on a GPU only")
    if adapter.get("finetune_vision_layers") and not sees:
        raise ParameterError(f"finetune_vision_layers=True: {path} has no vision layers; leave it out")
    kind = FastVisionModel if sees else FastLanguageModel
    try:
        model, _ = kind.from_pretrained(**loading)
    except OSError as error:
        raise ModelNotFoundError(f"model_path={path}: {error}") from error
    router_losses_off(model)
    with checked_adapter(model, job):
        return kind.get_peft_model(model, **(_for_vision(adapter) if sees else adapter))


def _for_vision(adapter: dict[str, Any]) -> dict[str, Any]:
    """With all-linear Unsloth adapts the vision layers whatever the switches say; without it, what they say."""
    found = {"finetune_vision_layers": False, **adapter}
    if found.get("target_modules") == "all-linear":
        del found["target_modules"]
    return found
