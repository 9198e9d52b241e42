"""Router losses of mixtures of experts: none that nobody asked for."""

from __future__ import annotations

from typing import Any


def router_losses_off(model: Any) -> None:
    """Have a loaded model compute no router loss of its own, whatever its config says.

    A framework adds such a loss once for each micro-batch, so that what is learned would depend on how batches are cut.
    The config that is saved gets its value back from the base model's.

    Args:
        model: A model of transformers, or one around it that has its `config`.
    """
    config = model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False
