"""Where this backend puts things in the directories of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


def rows_file(values: Mapping[str, Any], side: Literal["train", "validation"]) -> Path:
    """The processed rows of one side. Nodes that share a disk each have their own."""
    directory = Path(values["data_output_dir"] or Path(values["ckpt_output_dir"]) / "data")
    node = f"-node{values['node_rank']}" if values["node_rank"] else ""
    return directory / f"{side}{node}.jsonl"


def framework_directory(values: Mapping[str, Any]) -> Path:
    """What mini-trainer calls its output directory: its own logs, and checkpoints before they get their place."""
    return Path(values["ckpt_output_dir"]) / "logs" / "mini-trainer"


def cache_directory(values: Mapping[str, Any]) -> Path:
    """Where the datasets library keeps its copy of the rows while the run lasts."""
    return rows_file(values, "train").with_suffix(".cache")


def full_state_directory(values: Mapping[str, Any]) -> Path:
    """Where states to resume from (on_demand_checkpointing) are kept, beyond the logs' life."""
    return Path(values["ckpt_output_dir"]) / "full_state_checkpoints"
