"""Where this backend puts things in the directories of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


def rows_file(values: Mapping[str, Any], side: Literal["train", "validation"]) -> Path:
    """The processed rows of one side; each node has its own, also where nodes share data_output_dir."""
    rank = values["node_rank"]
    directory = Path(values["data_output_dir"] or _directory(values) / "data")
    return directory / f"{side}{f'-{rank}' if rank else ''}.jsonl"


def framework_directory(values: Mapping[str, Any]) -> Path:
    """What mini-trainer calls its output directory: its own logs, and checkpoints before they get their place."""
    return _directory(values) / "logs" / "mini-trainer"


def cache_directory(values: Mapping[str, Any]) -> Path:
    """Where the datasets library keeps its copy of the rows while the run lasts."""
    return rows_file(values, "train").with_suffix(".cache")


STATES = "full_state"
"""In a checkpoint: what training goes on from, beside the weights."""


def state_directory(checkpoint: Path, step: int) -> Path:
    """The framework's state in a checkpoint. It chooses the last name itself."""
    return checkpoint / STATES / f"step_{step}"


def _directory(values: Mapping[str, Any]) -> Path:
    """As `training_hub.request` has it: a further node has one of its own, inside that of the run."""
    place, rank = Path(values["ckpt_output_dir"]), values["node_rank"]
    return place / "nodes" / str(rank) if rank else place
