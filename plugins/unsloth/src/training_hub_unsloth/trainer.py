"""The hub's trainer on Unsloth's SFTTrainer. Unsloth must have been imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training_hub_trl.sft_trainer import HubSFTTrainer

_UNSLOTH_SETS = {"max_length", "dataloader_pin_memory", "gradient_checkpointing_kwargs"}
"""Arguments that Unsloth sets by itself and that change nothing here: rows come with their tokens."""


class UnslothHubTrainer(HubSFTTrainer):
    """The hub's trainer, which says where Unsloth does not keep to the arguments it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for change in changed(self.job.arguments["SFTConfig"], self.args):
            self.loop.reporter.warn(change)


def changed(asked: Mapping[str, Any], held: Any) -> Iterator[str]:
    """Name the arguments that hold another value than the one asked for."""
    for name, value in asked.items():
        found = getattr(held, name, value)
        found = getattr(found, "value", found)
        if value is None or name in _UNSLOTH_SETS or found == value or _both_adamw(value, found):
            continue
        yield f"Unsloth changed {name} from {value!r} to {found!r}"


def _both_adamw(first: Any, second: Any) -> bool:
    """Fused or not, PyTorch's AdamW is the same optimizer."""
    return all(isinstance(name, str) and name.startswith("adamw_torch") for name in (first, second))
