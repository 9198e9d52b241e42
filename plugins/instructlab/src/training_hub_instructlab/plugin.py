"""The hooks of this plugin. Importing it imports neither torch nor instructlab-training."""

from __future__ import annotations

from training_hub.plugin import Backend, hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends() -> dict[str, type[Backend]]:
    from training_hub_instructlab.backend import InstructLabTrainingSFTBackend

    return {"instructlab-training": InstructLabTrainingSFTBackend}
