"""What a run returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass
class TrainingResult(Mapping[str, Any]):
    """What came of a run. Each attribute is a key as well: `result.model` is `result["model"]`."""

    checkpoint: Path | None
    """Directory of the trained model (for LoRA, of the adapter), as transformers loads it."""
    metrics: dict[str, Any]
    """Final figures: `loss` (nats a trained token, of the last step), `step`, `epoch`, `tokens`, `seconds`, ..."""
    backend: str
    run_dir: Path
    merged_checkpoint: Path | None = None
    """For LoRA with save_merged_model: the base model with the adapter merged in."""
    model: Any = field(default=None, repr=False)
    """The trained model, when training ran in this process."""
    tokenizer: Any = field(default=None, repr=False)
    trainer: Any = field(default=None, repr=False)
    state: str = "completed"
    """`completed`, or `stopped` where the run was asked to end before its last step; `checkpoint` is then the one it
    saved, to be resumed from."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return [entry.name for entry in fields(self)]
