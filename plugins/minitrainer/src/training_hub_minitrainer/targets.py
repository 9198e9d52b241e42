"""The model in which OSFT's targets are looked up, before a weight of it is loaded.

mini-trainer itself goes by parts of the model's *path*: /opt/models/Qwen2 would get the patterns of OPT. And it would
take an embedding, or the transposed Conv1D of GPT-2, whose forward pass it then computes wrongly.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from training_hub.plugin import ModelError


def skeleton(model_path: str, *, trust_remote_code: bool) -> Any:
    """The model that mini-trainer would decompose, without weights.

    Raises:
        ModelError: Its architecture is not a language model that mini-trainer knows how to load.
    """
    from mini_trainer.utils import get_model_class_from_config

    # Comes first: mini-trainer's function would run the model's own code without asking.
    config = AutoConfig.from_pretrained(model_path, trust_remote_code=trust_remote_code)
    try:
        architecture = get_model_class_from_config(model_path)
    except ValueError as error:
        raise ModelError(f"model_path={model_path}: mini-trainer's OSFT cannot load it: {error}") from error
    own = _of_architecture(config, architecture)
    with torch.device("meta"):
        return architecture(own)


def _of_architecture(config: PretrainedConfig, architecture: Any) -> PretrainedConfig:
    """The configuration of the language part, where a model has others besides."""
    text = getattr(config, "text_config", None)
    expected = getattr(architecture, "config_class", None)
    if text is not None and expected is not None and not isinstance(config, expected):
        return text
    return config
