"""Where this backend puts things in the directories of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from training_hub.plugin import RunDirectory, data_directory, node_directory


def rows_file(values: Mapping[str, Any], side: Literal["train", "validation"]) -> Path:
    """The processed rows of one side."""
    return data_directory(values) / f"{side}.jsonl"


def framework_directory(values: Mapping[str, Any]) -> Path:
    """What mini-trainer calls its output directory: its own logs, and checkpoints before they get their place."""
    return RunDirectory(node_directory(values)).logs / "mini-trainer"


def cache_directory(values: Mapping[str, Any]) -> Path:
    """Where the datasets library keeps its copy of the rows while the run lasts."""
    return rows_file(values, "train").with_suffix(".cache")


def state_directory(checkpoint: Path, step: int) -> Path:
    """In a checkpoint: what training goes on from, beside the weights. The framework chooses the last name itself."""
    return checkpoint / "full_state" / f"step_{step}"
