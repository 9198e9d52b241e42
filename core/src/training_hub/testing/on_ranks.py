"""A callback for every rank, in a module that every rank can import."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext


class RankNotes(TrainingHubCallback):
    """Notes each call in a file of its rank, and lets the last rank ask the run to stop once it has begun.

    Args:
        directory: Where `rank-N.jsonl` are written.
        stops: Whether it asks.
    """

    run_on_all_ranks: ClassVar[bool] = True
    REASON: ClassVar[str] = "the last rank asks for it"

    def __init__(self, directory: str, stops: bool = False) -> None:
        self.directory, self.stops = directory, stops

    def __getattribute__(self, name: str) -> Any:
        return partial(self._note, name) if name.startswith("on_") else super().__getattribute__(name)

    def _note(self, hook: str, context: TrainingHubContext) -> None:
        noted = {
            "hook": hook,
            "step": context.step,
            "loss": context.loss,
            "main": context.is_main_process,
            "model": type(context.model).__name__,
            "tokenizer": context.tokenizer is not None,
        }
        with (Path(self.directory) / f"rank-{context.rank}.jsonl").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(noted) + "\n")
        if self.stops and hook == "on_train_begin" and context.rank == context.world_size - 1:
            context.stop(self.REASON)


def notes_of_ranks(directory: Path) -> list[list[dict[str, Any]]]:
    """What was noted on each rank, by rank."""
    files = sorted(directory.glob("rank-*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in files]
