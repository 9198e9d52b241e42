"""Backends that are known to exist, and the extra that installs each: what an error or `backends` can recommend.

This is the only place of the core that knows of packages outside it; it holds names, and imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "instructlab-training": ("sft",),
    "mini-trainer": ("osft", "sft"),
    "trl": ("sft", "osft", "lora_sft", "dpo"),
    "unsloth": ("lora_sft",),
}
"""The algorithms that each known backend executes."""

RECOMMENDED: Mapping[str, tuple[str, ...]] = {
    "sft": ("instructlab-training", "trl"),
    "osft": ("mini-trainer", "trl"),
    "lora_sft": ("unsloth", "trl"),
}
"""By algorithm of the core: the backends to try, in order, when none is named."""

EXTRAS: Mapping[str, str] = {
    "instructlab-training": "instructlab",
    "mini-trainer": "minitrainer",
    "trl": "trl",
    "unsloth": "unsloth",
}

ANYWHERE = "trl"
"""The known backend that runs on any machine, and brings a demonstration."""

COMMANDS = frozenset(
    {"train", "resume", "plan", "backends", "schema", "demo", "new-plugin", "runs", "watch", "plot", "report"}
)
"""The commands of `training-hub` itself, whose names no plugin may take."""

CLASSES: Mapping[str, str] = {
    "InstructLabTrainingSFTBackend": "instructlab-training",
    "MiniTrainerOSFTBackend": "mini-trainer",
    "UnslothLoRABackend": "unsloth",
}
"""Public backend classes that are importable from `training_hub`, by the backend that brings them."""


def install_command(backend: str) -> str | None:
    """The command that installs a known backend."""
    extra = EXTRAS.get(backend)
    return f'pip install "training-hub[{extra}]"' if extra else None
