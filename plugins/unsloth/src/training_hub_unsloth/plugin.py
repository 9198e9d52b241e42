"""The hooks of this plugin. Importing it imports neither torch nor Unsloth."""

from __future__ import annotations

from training_hub.plugin import Backend, hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends() -> dict[str, type[Backend]]:
    from training_hub_unsloth.backend import UnslothLoRABackend

    return {"unsloth": UnslothLoRABackend}
