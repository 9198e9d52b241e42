"""What is wrong with a model's weights, told from their names alone: those that its safetensors files list."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

SHOWN = 3
"""Names in a message."""
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What PyTorch puts into names when it compiles or wraps a model: transformers would find none of its weights."""
_LAYER = re.compile(
    r"(?P<stack>(?:(?:model\.)?language_model\.)?(?:model\.)?layers|(?:transformer\.)?h|gpt_neox\.layers|backbone\.layers)"
    r"\.(?P<number>\d+)\.(?P<rest>.+)"
)
"""A weight of a layer, where a text model's layers are named in one of the usual ways."""
_COUNTS = ("num_hidden_layers", "n_layer")


def names_problem(names: Collection[str], config: Mapping[str, Any]) -> str | None:
    """Why weights of these names are not those that the config describes; None where nothing is wrong with them.

    Where the naming is not a usual one nothing is said: the processes that train compare the weights themselves.

    Args:
        names: The names in the files.
        config: The model's `config.json`.
    """
    wrapped = [name for name in names if any(wrapper in name for wrapper in _WRAPPERS)]
    if wrapped or (names and all(name.startswith("module.") for name in names)):
        return (
            f"its weights are named as in a model that was compiled or wrapped, and none would be found: "
            f"{_named(wrapped or names)}; save the model inside it, for instance model._orig_mod.save_pretrained(...)"
        )
    # Code of the model's own may name and share layers as it likes.
    return None if "auto_map" in config else _layers_problem(names, config)


def _layers_problem(names: Collection[str], config: Mapping[str, Any]) -> str | None:
    text = config.get("text_config", config)
    key = next((key for key in _COUNTS if isinstance(text, dict) and type(text.get(key)) is int), None)
    layers: dict[int, set[str]] = {}
    stack = ""
    for name in names:
        if match := _LAYER.fullmatch(name):
            stack = match["stack"]
            layers.setdefault(int(match["number"]), set()).add(match["rest"])
    if key is None or not layers:
        return None
    count = text[key]
    said = f"its config.json has {key}={count}, and its files hold {len(layers)} layers: "
    mend = "mend config.json, or copy the model again"
    if missing := [f"{stack}.{number}" for number in range(count) if number not in layers]:
        return f"{said}weights of {_named(missing)} are missing, and would start at random; {mend}"
    own = set().union(*(rest for number, rest in layers.items() if number < count))
    further = [f"{stack}.{number}" for number, rest in layers.items() if number >= count and rest <= own]
    # Layers that only predict further tokens are numbered on, and are no mistake.
    if further and not any(text[name] for name in text if "nextn" in name or "mtp" in name):
        return f"{said}{_named(further)} would be lost; {mend}"
    return None


def _named(names: Collection[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {more} more" if more > 0 else "")
