"""What came of training, as the first of the processes that train hands it to the caller's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.store.result import TrainingResult


@dataclass(frozen=True)
class Outcome:
    """What came of training."""

    checkpoint: Path | None = None
    """Directory of the trained model, or of the adapter; of a stopped run its last checkpoint."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The last step's figures, and the run's: see `StepReporter.final`."""
    merged_checkpoint: Path | None = None
    """Directory of base and adapter merged."""
    live: dict[str, Any] = field(default_factory=dict, repr=False)
    """`model`, `tokenizer`, `trainer`, where training ran in the caller's process; never written."""

    def write(self, directory: RunDirectory) -> None:
        """Write it into a run's directory, for the caller's process."""
        write_json(
            directory.outcome,
            {
                "checkpoint": str(self.checkpoint) if self.checkpoint else None,
                "merged_checkpoint": str(self.merged_checkpoint) if self.merged_checkpoint else None,
                "metrics": self.metrics,
            },
        )

    @classmethod
    def read(cls, directory: RunDirectory) -> Outcome:
        """Read what `write` wrote; empty where nothing was, as on a further node."""
        if not directory.outcome.exists():
            return cls()
        found = read_json(directory.outcome)
        checkpoint, merged = found["checkpoint"], found["merged_checkpoint"]
        return cls(Path(checkpoint) if checkpoint else None, found["metrics"], Path(merged) if merged else None)

    def result(self, backend: str, directory: RunDirectory) -> TrainingResult:
        """As the caller gets it."""
        return TrainingResult(
            checkpoint=self.checkpoint,
            merged_checkpoint=self.merged_checkpoint,
            metrics=self.metrics,
            backend=backend,
            run_dir=directory.path,
            **self.live,
        )
